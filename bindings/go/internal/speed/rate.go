package main

import (
	"fmt"
	"slices"
	"time"

	"railbus"
)

const (
	rateBatch = 512
	rateBlock = 16 << 10
)

// flood publishes without end.
func flood(how string) error {
	publisher, err := sendTo("flood")
	if err != nil {
		return err
	}
	together := make([]byte, rateBatch*eventBytes)
	payloads := make([][]byte, rateBatch)
	for i := range payloads {
		payloads[i] = together[i*eventBytes:][:eventBytes]
	}
	publish := map[string]func() error{
		"Publish":        func() error { _, err := publisher.Publish(background, payloads[0]); return err },
		"PublishBatch":   func() error { _, err := publisher.PublishBatch(background, payloads); return err },
		"PublishStrided": func() error { _, err := publisher.PublishStrided(background, together, eventBytes, nil); return err },
	}[how]
	if publish == nil {
		return fmt.Errorf("peer: no part %q", how)
	}
	fmt.Print("r")
	for {
		if err := publish(); err != nil {
			return err
		}
	}
}

// rates receives in blocks, some events at a time, and returns the best and the middle block in millions
// of events a second.
func rates(receive func() (int, error)) (best, middle float64, err error) {
	var all []float64
	for end := time.Now().Add(rowTime); time.Now().Before(end); {
		start, count := time.Now(), 0
		for count < rateBlock {
			some, err := receive()
			if err != nil {
				return 0, 0, err
			}
			count += some
		}
		all = append(all, float64(count)/float64(time.Since(start))*1e3)
	}
	slices.Sort(all)
	return all[len(all)-1], all[len(all)/2], nil
}

func rate() error {
	unpin, err := pin()
	if err != nil {
		return err
	}
	fmt.Printf("%-32s %10s %10s\n", "million events/s, 64 B", "best", "middle")
	row := func(name string, receive func() (int, error)) error {
		best, middle, err := rates(receive)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%-32s %10.1f %10.1f\n", name, best, middle)
		return nil
	}
	events := make([]railbus.Event, rateBatch)
	buffer := railbus.Buffer{Payloads: make([]byte, rateBatch*eventBytes), Stride: eventBytes}
	for _, one := range []struct {
		how, received string
		receive       func(*railbus.Subscriber) (int, error)
	}{
		{"PublishStrided", "RecvBatch", func(subscriber *railbus.Subscriber) (int, error) {
			count, err := subscriber.RecvBatch(background, events)
			for i := range events[:count] {
				sink += uint64(events[i].Payload()[0])
			}
			return count, err
		}},
		{"PublishStrided", "RecvInto", func(subscriber *railbus.Subscriber) (int, error) {
			count, err := subscriber.RecvInto(background, &buffer)
			for i := range count {
				sink += uint64(buffer.Payload(i)[0])
			}
			return count, err
		}},
		{"PublishBatch", "RecvBatch", func(subscriber *railbus.Subscriber) (int, error) {
			count, err := subscriber.RecvBatch(background, events)
			for i := range events[:count] {
				sink += uint64(events[i].Payload()[0])
			}
			return count, err
		}},
		{"Publish", "Recv", func(subscriber *railbus.Subscriber) (int, error) {
			event, err := subscriber.Recv(background)
			if err == nil {
				sink += uint64(event.Payload()[0])
			}
			return 1, err
		}},
	} {
		subscriber, err := receiveFrom("flood")
		if err != nil {
			return err
		}
		err = withPeer(one.how, func() error {
			return row(one.how+", "+one.received, func() (int, error) { return one.receive(subscriber) })
		})
		subscriber.Close()
		if err != nil {
			return err
		}
	}
	// Goroutines are at their best where they need no thread of their own.
	unpin()
	values := make(chan [eventBytes]byte, rateBatch)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range rateBatch {
				values <- [eventBytes]byte{}
			}
		}
	}()
	return row("Go channel, two goroutines", func() (int, error) {
		value := <-values
		sink += uint64(value[0])
		return 1, nil
	})
}
