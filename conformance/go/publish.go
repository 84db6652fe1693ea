package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// publishing is the state of the role publish.
type publishing struct {
	sender      sender
	payloadMax  int
	sizes       []int
	start, seed uint64
	attributed  bool
	tally       tally
}

func (role *publishing) payload(i uint64) []byte {
	payload := make([]byte, role.sizes[i%uint64(len(role.sizes))])
	fill(payload, i, role.seed)
	return payload
}

func (role *publishing) count(payload []byte, i, position uint64) {
	if role.attributed {
		attributes := attributesOf(i)
		role.tally.count(payload, position, &attributes)
	} else {
		role.tally.count(payload, position, nil)
	}
}

func (role *publishing) copies(events uint64, with bool) error {
	for i := role.start; i < role.start+events; i++ {
		payload := role.payload(i)
		position, err := soon(func(ctx context.Context) (uint64, error) {
			if with {
				return role.sender.PublishWith(ctx, payload, attributesOf(i))
			}
			return role.sender.Publish(ctx, payload)
		})
		if err != nil {
			return err
		}
		role.count(payload, i, position)
	}
	return nil
}

func (role *publishing) claims(events uint64) error {
	for i := role.start; i < role.start+events; i++ {
		payload := role.payload(i)
		if i%5 == 4 {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			claim, err := role.sender.Claim(ctx, len(payload))
			cancel()
			if err != nil {
				return err
			}
			for j := range claim.Payload() {
				claim.Payload()[j] = 0xEE
			}
			if err := claim.Abort(); err != nil {
				return err
			}
		}
		claimed := len(payload)
		if i%2 == 1 && claimed+8 <= role.payloadMax {
			claimed += 8
		}
		position, err := soon(func(ctx context.Context) (uint64, error) {
			claim, err := role.sender.Claim(ctx, claimed)
			if err != nil {
				return 0, err
			}
			fill(claim.Payload()[:len(payload)], i, role.seed)
			return claim.Commit(len(payload))
		})
		if err != nil {
			return err
		}
		role.count(payload, i, position)
	}
	return nil
}

func (role *publishing) batches(events, batch uint64, strided bool) error {
	stride := max(slices.Max(role.sizes), 1)
	for done := uint64(0); done < events; {
		count := min(events-done, batch)
		payloads := make([][]byte, count)
		together := make([]byte, int(count)*stride)
		lengths := make([]uint32, count)
		for k := range payloads {
			i := role.start + done + uint64(k)
			payloads[k] = role.payload(i)
			lengths[k] = uint32(copy(together[k*stride:], payloads[k]))
			role.count(payloads[k], i, 0)
		}
		published, err := soon(func(ctx context.Context) (int, error) {
			if strided {
				return role.sender.PublishStrided(ctx, together, stride, lengths)
			}
			return role.sender.PublishBatch(ctx, payloads)
		})
		if err != nil {
			return err
		}
		if uint64(published) != count {
			return fmt.Errorf("%d of %d were published, and no error said", published, count)
		}
		done += count
	}
	return nil
}

func playPublish(given arguments) error {
	place, err := attach(given)
	if err != nil {
		return err
	}
	sender, err := openSender(place.channel)
	if err != nil {
		return err
	}
	role := publishing{
		sender:     sender,
		payloadMax: place.channel.Header().PayloadMax,
		start:      given.number("start", 0),
		seed:       given.number("seed", 0),
		attributed: given.flag("attributes"),
	}
	for _, word := range strings.Split(given.text("sizes", "8"), ",") {
		size := role.payloadMax
		if word != "max" {
			if size, err = strconv.Atoi(word); err != nil || size < 0 {
				return fmt.Errorf("%w: size %q", errUsage, word)
			}
		}
		role.sizes = append(role.sizes, size)
	}
	events, batch := given.number("events", 0), given.number("batch", 16)
	say("ready")
	if given.flag("wait") {
		waitForLine()
	}
	switch mode := given.text("mode", "copy"); mode {
	case "copy", "attributes":
		err = role.copies(events, mode == "attributes")
	case "claim":
		err = role.claims(events)
	case "batch", "strided":
		err = role.batches(events, batch, mode == "strided")
	default:
		err = fmt.Errorf("%w: mode %q", errUsage, mode)
	}
	if err != nil {
		return err
	}
	word := "done"
	if given.flag("hold_claim") {
		if _, err := sender.TryClaim(8); err != nil {
			return err
		}
		word = "holding"
	}
	say("%s events=%d first=%d last=%d digest=%d sum=%d", word, role.tally.events, role.tally.first, role.tally.last,
		role.tally.digest, role.tally.sum)
	waitForEnd()
	return place.leave(sender.Close)
}
