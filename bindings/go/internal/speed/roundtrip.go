package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	tripBlock = 100
	// Every row takes this long, whatever else the machine does.
	rowTime = 1500 * time.Millisecond
)

// trips measures round trips in blocks, and returns the fastest and the middle one, in ns a trip.
func trips(once func() error) (fastest, middle float64, err error) {
	var times []time.Duration
	for end := time.Now().Add(rowTime); time.Now().Before(end); {
		start := time.Now()
		for range tripBlock {
			if err := once(); err != nil {
				return 0, 0, err
			}
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	per := func(time time.Duration) float64 { return float64(time) / tripBlock }
	return per(times[0]), per(times[len(times)/2]), nil
}

func roundTrip() error {
	unpin, err := pin()
	if err != nil {
		return err
	}
	fmt.Printf("%-32s %10s %10s\n", "ns a round trip, 64 B", "fastest", "middle")
	row := func(name string, once func() error) error {
		fastest, middle, err := trips(once)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%-32s %10.0f %10.0f\n", name, fastest, middle)
		return nil
	}
	words, err := openWords(os.Getenv("RAILBUS_DIR") + "/words")
	if err != nil {
		return err
	}
	bare := func() error {
		value := uint64(0)
		return row("two words, two processes", func() error {
			value++
			words.there.Store(value)
			await(words.back, value)
			return nil
		})
	}
	if err := withPeer("words", bare); err != nil {
		return err
	}
	subscriber, err := receiveFrom("back")
	if err != nil {
		return err
	}
	defer subscriber.Close()
	publisher, err := sendTo("there")
	if err != nil {
		return err
	}
	defer publisher.Close()
	payload := make([]byte, eventBytes)
	streams := func() error {
		return row("two streams, two processes", func() error {
			if _, err := publisher.Publish(background, payload); err != nil {
				return err
			}
			event, err := subscriber.Recv(background)
			sink += uint64(event.Len())
			return err
		})
	}
	if err := withPeer("answer", streams); err != nil {
		return err
	}
	// Goroutines are at their best where they need no thread of their own.
	unpin()
	there, back := make(chan [eventBytes]byte), make(chan [eventBytes]byte)
	go func() {
		for value := range there {
			back <- value
		}
		close(back)
	}()
	defer close(there)
	return row("Go channels, two goroutines", func() error {
		there <- [eventBytes]byte{}
		value := <-back
		sink += uint64(value[0])
		return nil
	})
}
