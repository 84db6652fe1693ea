package main

// The short roles: create, attach, inspect, churn.

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"railbus"
)

var kinds = map[string]railbus.Kind{"stream": railbus.Stream, "queue": railbus.Queue, "topic": railbus.Topic}

var overflows = map[string]railbus.Overflow{
	"": railbus.OverflowDefault, "block": railbus.OverflowBlock, "drop-newest": railbus.OverflowDropNewest,
	"lossy-readers": railbus.OverflowLossyReaders,
}

func playCreate(given arguments) error {
	bus, err := railbus.Open(given["bus"])
	if err != nil {
		return err
	}
	overflow, known := overflows[given["overflow"]]
	if !known {
		return fmt.Errorf("%w: overflow %q", errUsage, given["overflow"])
	}
	channel, err := bus.Create(given["channel"], railbus.ChannelOptions{
		Kind:          kinds[given["kind"]],
		CapacityBytes: given.number("capacity", 0),
		Slots:         given.number("slots", 0),
		SlotBytes:     given.number("slot_bytes", 0),
		Stamp:         given.flag("stamp"),
		MaxAttempts:   uint32(given.number("max_attempts", 0)),
		Overflow:      overflow,
		FirstPosition: given.number("first_position", 0),
	})
	if err != nil {
		return err
	}
	header := channel.Header()
	say("done payload_max=%d capacity=%d slots=%d slot_bytes=%d", header.PayloadMax, header.CapacityBytes, header.Slots,
		header.SlotBytes)
	waitForEnd()
	return place{bus, channel}.leave()
}

func playAttach(given arguments) error {
	var closers []func() error
	place, err := attachAwaited(given)
	if err == nil {
		switch as := given["as"]; as {
		case "publish":
			var opened sender
			if opened, err = openSender(place.channel); err == nil {
				closers = append(closers, opened.Close)
			}
		case "subscribe":
			var opened *railbus.Subscriber
			if opened, err = openReader(place.channel, railbus.SubscriberOptions{}); err == nil {
				closers = append(closers, opened.Close)
			}
		case "work":
			var opened *railbus.Worker
			if opened, err = place.channel.Worker(railbus.WorkerOptions{}); err == nil {
				closers = append(closers, opened.Close)
			}
		case "inspect":
			_, err = place.channel.Snapshot()
		default:
			return fmt.Errorf("%w: as %q", errUsage, as)
		}
	}
	say("done result=%s", symbol(err))
	waitForEnd()
	if place.channel == nil {
		return nil
	}
	return place.leave(closers...)
}

func playInspect(given arguments) error {
	place, err := attach(given)
	if err != nil {
		return err
	}
	snapshot, err := place.channel.Snapshot()
	if err != nil {
		return err
	}
	alive := map[railbus.Side]int{}
	for _, participant := range snapshot.Participants {
		if participant.Life == railbus.Alive {
			alive[participant.Side]++
		}
	}
	say("done kind=%v published=%d depth=%d producers=%d consumers=%d", place.channel.Header().Kind, snapshot.Published,
		snapshot.Depth, alive[railbus.Producers], alive[railbus.Consumers])
	waitForEnd()
	return place.leave()
}

// footprint is how many descriptors this process has, and how much memory is resident.
func footprint() (descriptors, kib int, err error) {
	debug.FreeOSMemory()
	listed, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	_, behind, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscanf(behind, "%d", &kib)
	return len(listed), kib, err
}

func churnOnce(channel *railbus.Channel, events uint64) error {
	sender, err := openSender(channel)
	if err != nil {
		return err
	}
	defer sender.Close()
	payload := make([]byte, 64)
	same := func(event railbus.Event) error {
		if !bytes.Equal(event.Payload(), payload) {
			return fmt.Errorf("another event came than was published")
		}
		return nil
	}
	var receive func(context.Context) error
	if channel.Header().Kind == railbus.Queue {
		worker, err := channel.Worker(railbus.WorkerOptions{})
		if err != nil {
			return err
		}
		defer worker.Close()
		receive = func(ctx context.Context) error {
			job, err := worker.Take(ctx)
			if err == nil {
				err = same(job.Event)
			}
			if err == nil {
				err = worker.Done(job)
			}
			return err
		}
	} else {
		reader, err := channel.Subscriber(railbus.SubscriberOptions{})
		if err != nil {
			return err
		}
		defer reader.Close()
		receive = func(ctx context.Context) error {
			event, err := reader.Recv(ctx)
			if err == nil {
				err = same(event)
			}
			return err
		}
	}
	for i := range events {
		fill(payload, i, 0)
		if _, err := sender.Publish(context.Background(), payload); err != nil {
			return err
		}
		if err := receive(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

func playChurn(given arguments) error {
	place, err := attach(given)
	if err != nil {
		return err
	}
	opens := given.number("opens", 100)
	// The runtime opens descriptors of its own when it first reads a file: that is no leak.
	descriptors, kib, err := footprint()
	if err != nil {
		return err
	}
	say("ready")
	for i := range opens {
		if i == opens/10 {
			if descriptors, kib, err = footprint(); err != nil {
				return err
			}
		}
		events := uint64(0)
		if i+1 == opens {
			events = given.number("events", 0)
		}
		if err := churnOnce(place.channel, events); err != nil {
			return err
		}
	}
	descriptorsNow, kibNow, err := footprint()
	if err != nil {
		return err
	}
	say("done descriptors=%d rss_kib=%d", max(descriptorsNow-descriptors, 0), max(kibNow-kib, 0))
	waitForEnd()
	return place.leave()
}
