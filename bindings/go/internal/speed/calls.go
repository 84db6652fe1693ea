package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"railbus"
	"railbus/internal/bare"
)

const (
	eventBytes  = 64
	block       = 512
	blocks      = 4000
	callsInRing = 1 << 20
)

var background = context.Background()

// measure runs a block of calls again and again, and returns the fastest and the middle one, in ns a
// call. Before each block it calls ready, which is not measured.
func measure(calls int, ready func() error, run func() error) (fastest, middle float64, err error) {
	times := make([]time.Duration, 0, blocks)
	for range blocks {
		if err := ready(); err != nil {
			return 0, 0, err
		}
		start := time.Now()
		if err := run(); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	per := func(time time.Duration) float64 { return float64(time) / float64(calls) }
	return per(times[0]), per(times[len(times)/2]), nil
}

// inRing opens a stream in a directory of its own.
func inRing(run func(publisher *railbus.Publisher, subscriber *railbus.Subscriber) error) error {
	bus, err := railbus.Open("speed")
	if err != nil {
		return err
	}
	defer bus.Close()
	name := fmt.Sprintf("calls-%d", os.Getpid())
	channel, err := bus.Create(name, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: callsInRing})
	if err != nil {
		return err
	}
	defer channel.Close()
	defer bus.Remove(name)
	subscriber, err := channel.Subscriber(railbus.SubscriberOptions{})
	if err != nil {
		return err
	}
	defer subscriber.Close()
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		return err
	}
	defer publisher.Close()
	return run(publisher, subscriber)
}

var sink uint64

func calls() error {
	return inRing(func(publisher *railbus.Publisher, subscriber *railbus.Subscriber) error {
		payload := make([]byte, eventBytes)
		strided := make([]byte, block*eventBytes)
		payloads := make([][]byte, block)
		for i := range payloads {
			payloads[i] = make([]byte, eventBytes)
		}
		events := make([]railbus.Event, block)
		buffer := railbus.Buffer{Payloads: make([]byte, block*eventBytes), Stride: eventBytes}

		nothing := func() error { return nil }
		fill := func() error {
			_, err := publisher.PublishStrided(background, strided, eventBytes, nil)
			return err
		}
		drain := func() error {
			for {
				if _, err := subscriber.TryRecvBatch(events); err == railbus.ErrEmpty {
					return nil
				} else if err != nil {
					return err
				}
			}
		}
		each := func(call func() error) func() error {
			return func() error {
				for range block {
					if err := call(); err != nil {
						return err
					}
				}
				return nil
			}
		}
		values := make(chan [eventBytes]byte, block)
		rows := []struct {
			name  string
			ready func() error
			run   func() error
		}{
			{"a call of C that does nothing", nothing, each(func() error { sink += bare.Call(payload); return nil })},
			{"Publish", drain, each(func() error { _, err := publisher.Publish(background, payload); return err })},
			{"TryPublish", drain, each(func() error { _, err := publisher.TryPublish(payload); return err })},
			{"Claim, Commit", drain, each(func() error {
				claim, err := publisher.Claim(background, eventBytes)
				if err != nil {
					return err
				}
				copy(claim.Payload(), payload)
				_, err = claim.Commit(eventBytes)
				return err
			})},
			{"Recv", fill, each(func() error {
				event, err := subscriber.Recv(background)
				if err == nil {
					sink += uint64(event.Payload()[0])
				}
				return err
			})},
			{"TryRecv of nothing", drain, each(func() error {
				if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
					return fmt.Errorf("an empty ring answered %v", err)
				}
				return nil
			})},
			{"PublishStrided of 512", drain, fill},
			{"PublishBatch of 512", drain, func() error {
				_, err := publisher.PublishBatch(background, payloads)
				return err
			}},
			{"RecvBatch of 512", fill, func() error {
				count, err := subscriber.RecvBatch(background, events)
				for i := range events[:count] {
					sink += uint64(events[i].Payload()[0])
				}
				return err
			}},
			{"RecvInto of 512", fill, func() error {
				count, err := subscriber.RecvInto(background, &buffer)
				for i := range count {
					sink += uint64(buffer.Payload(i)[0])
				}
				return err
			}},
			{"Go channel, send and receive", nothing, func() error {
				for range block {
					values <- [eventBytes]byte{}
				}
				for range block {
					value := <-values
					sink += uint64(value[0])
				}
				return nil
			}},
		}
		fmt.Printf("%-32s %10s %10s\n", "ns each, events of 64 B", "fastest", "middle")
		for _, row := range rows {
			if err := drain(); err != nil {
				return err
			}
			fastest, middle, err := measure(block, row.ready, row.run)
			if err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			fmt.Printf("%-32s %10.1f %10.1f\n", row.name, fastest, middle)
		}
		return nil
	})
}
