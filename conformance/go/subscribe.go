package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"railbus"
)

func readerOptions(given arguments) (options railbus.SubscriberOptions, err error) {
	options.Name = given["name"]
	options.Durable = given.flag("durable")
	options.Lossy = given.flag("lossy")
	options.Manual = given.flag("manual")
	options.UntilClosed = given.flag("until_closed")
	switch start := given.text("start", "live"); start {
	case "live":
	case "oldest":
		options.Start = railbus.Oldest
	default:
		number, last := strings.CutPrefix(start, "last:")
		value, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return options, fmt.Errorf("%w: start %q", errUsage, start)
		}
		options.Start = railbus.At(value)
		if last {
			options.Start = railbus.Last(value)
		}
	}
	return options, nil
}

func playSubscribe(given arguments) error {
	place, err := attach(given)
	if err != nil {
		return err
	}
	options, err := readerOptions(given)
	if err != nil {
		return err
	}
	reader, err := openReader(place.channel, options)
	if err != nil {
		return err
	}
	closers := []func() error{reader.Close}

	batch, stride := int(given.number("batch", 16)), int(given.number("stride", 4096))
	slow := time.Duration(given.number("slow_us", 0)) * time.Microsecond
	attributed, wanted := given.flag("attributes"), given.number("events", 0)
	events := make([]railbus.Event, batch)
	var tally tally

	// Each way receives some events, at most the given number, and counts them.
	ways := map[string]func(ctx context.Context, most int) error{
		"receive": func(ctx context.Context, most int) error {
			event, err := reader.Recv(ctx)
			if err == nil && attributed {
				tally.event(event, true)
			} else if err == nil {
				tally.count(bytes.Clone(event.Payload()), event.Position(), nil)
			}
			return err
		},
		"view": func(ctx context.Context, most int) error {
			for event, err := range reader.Events(ctx) {
				if err == nil {
					tally.event(event, attributed)
				}
				return err
			}
			return railbus.ErrEnded
		},
		"batch": func(ctx context.Context, most int) error {
			count, err := reader.RecvBatch(ctx, events[:most])
			for _, event := range events[:count] {
				tally.event(event, attributed)
				time.Sleep(slow * time.Duration(min(count-1, 1)))
			}
			return err
		},
	}
	buffer := railbus.Buffer{
		Payloads: make([]byte, batch*stride), Stride: stride,
		Lengths: make([]uint32, batch), Positions: make([]uint64, batch),
	}
	ways["into"] = func(ctx context.Context, most int) error {
		part := buffer
		part.Payloads = buffer.Payloads[:most*stride]
		count, err := reader.RecvInto(ctx, &part)
		for i := range count {
			tally.count(part.Payload(i), part.Positions[i], nil)
		}
		return err
	}
	mode := given.text("mode", "receive")
	if mode == "bridge" {
		bridge, err := place.channel.Bridge()
		if err != nil {
			return err
		}
		closers = append([]func() error{bridge.Close}, closers...)
		ways["bridge"] = func(ctx context.Context, most int) error {
			event, err := reader.TryRecv()
			if err == railbus.ErrEmpty {
				return bridge.WaitFor(ctx, reader)
			} else if err == nil {
				tally.event(event, attributed)
			}
			return err
		}
	}
	receive, known := ways[mode]
	if !known {
		return fmt.Errorf("%w: mode %q", errUsage, mode)
	}

	say("ready")
	for tally.events+tally.lost < wanted {
		most := int(min(wanted-tally.events-tally.lost, uint64(batch)))
		_, err := soon(func(ctx context.Context) (struct{}, error) { return struct{}{}, receive(ctx, most) })
		var failure *railbus.Error
		if errors.Is(err, railbus.ErrEnded) {
			break
		} else if errors.Is(err, railbus.ErrLost) && errors.As(err, &failure) {
			tally.lost += failure.Lost.Events
		} else if err != nil {
			return err
		}
		time.Sleep(slow)
	}
	if how := given.number("acknowledge", 0); how != 0 {
		stats, err := reader.Stats()
		if err != nil {
			return err
		}
		position := stats.Position
		if how == 2 {
			position = tally.last
		}
		if err := reader.AcknowledgeTo(position); err != nil {
			return err
		}
	}
	if options.Durable {
		if err := reader.Release(); err != nil {
			return err
		}
	}
	say("done events=%d first=%d last=%d digest=%d sum=%d lost=%d", tally.events, tally.first, tally.last, tally.digest,
		tally.sum, tally.lost)
	waitForEnd()
	return place.leave(closers...)
}
