package railbus_test

// Benchmarks, each beside its limit: `make bench-go`, or go test -run '^$' -bench . -cpu 1,2.
//
// Single calls are beside a call of C that does nothing (BareCall). Ways to pass events from one
// goroutine to another are beside a Go channel.

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"railbus"
	"railbus/internal/bare"
)

const (
	eventBytes = 64
	benchRing  = 1 << 20
	benchBatch = 1024
)

var background = context.Background()

func BenchmarkBareCall(b *testing.B) {
	payload := make([]byte, eventBytes)
	for b.Loop() {
		bare.Call(payload)
	}
}

// One goroutine publishes and receives in turns, so neither ever waits: this is the cost of two calls.
func BenchmarkPublishRecv(b *testing.B) {
	publisher, subscriber := pair(b, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: benchRing},
		railbus.SubscriberOptions{})
	payload := make([]byte, eventBytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := publisher.Publish(background, payload); err != nil {
			b.Fatal(err)
		}
		event, err := subscriber.Recv(background)
		if err != nil {
			b.Fatal(err)
		}
		sink += uint64(event.Payload()[0])
	}
}

var sink uint64

func BenchmarkPublish(b *testing.B) {
	options := railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: benchRing}
	channel := newChannel(b, options)
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(b)
	defer publisher.Close()
	payload := make([]byte, eventBytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := publisher.Publish(background, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTryRecvEmpty(b *testing.B) {
	_, subscriber := pair(b, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: benchRing},
		railbus.SubscriberOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
			b.Fatal(err)
		}
	}
}

// A publisher and a subscriber, on a thread each, pass b.N events on.
func handOver(b *testing.B, publish func(*railbus.Publisher, int) error, receive func(*railbus.Subscriber, int) error) {
	publisher, subscriber := pair(b, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: benchRing},
		railbus.SubscriberOptions{})
	b.SetBytes(eventBytes)
	b.ReportAllocs()
	b.ResetTimer()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		failed <- publish(publisher, b.N)
	}()
	err := receive(subscriber, b.N)
	if err := errors.Join(err, <-failed); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func publishStrided(publisher *railbus.Publisher, events int) error {
	payloads := make([]byte, benchBatch*eventBytes)
	for events > 0 {
		count := min(events, benchBatch)
		if _, err := publisher.PublishStrided(background, payloads[:count*eventBytes], eventBytes, nil); err != nil {
			return err
		}
		events -= count
	}
	return nil
}

func publishBatch(publisher *railbus.Publisher, events int) error {
	payloads := make([][]byte, benchBatch)
	for i := range payloads {
		payloads[i] = make([]byte, eventBytes)
	}
	for events > 0 {
		count := min(events, benchBatch)
		if _, err := publisher.PublishBatch(background, payloads[:count]); err != nil {
			return err
		}
		events -= count
	}
	return nil
}

func recvBatch(subscriber *railbus.Subscriber, wanted int) error {
	events := make([]railbus.Event, benchBatch)
	for wanted > 0 {
		count, err := subscriber.RecvBatch(background, events[:min(wanted, benchBatch)])
		if err != nil {
			return err
		}
		for _, event := range events[:count] {
			sink += uint64(event.Payload()[0])
		}
		wanted -= count
	}
	return nil
}

func recvInto(subscriber *railbus.Subscriber, wanted int) error {
	buffer := railbus.Buffer{Payloads: make([]byte, benchBatch*eventBytes), Stride: eventBytes}
	for wanted > 0 {
		buffer.Payloads = buffer.Payloads[:min(wanted, benchBatch)*eventBytes]
		count, err := subscriber.RecvInto(background, &buffer)
		if err != nil {
			return err
		}
		for i := range count {
			sink += uint64(buffer.Payloads[i*eventBytes])
		}
		wanted -= count
	}
	return nil
}

func recvEach(subscriber *railbus.Subscriber, wanted int) error {
	for ; wanted > 0; wanted-- {
		event, err := subscriber.Recv(background)
		if err != nil {
			return err
		}
		sink += uint64(event.Payload()[0])
	}
	return nil
}

func publishEach(publisher *railbus.Publisher, events int) error {
	payload := make([]byte, eventBytes)
	for ; events > 0; events-- {
		if _, err := publisher.Publish(background, payload); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkHandOver(b *testing.B) {
	b.Run("strided-batch", func(b *testing.B) { handOver(b, publishStrided, recvBatch) })
	b.Run("strided-into", func(b *testing.B) { handOver(b, publishStrided, recvInto) })
	b.Run("batch-batch", func(b *testing.B) { handOver(b, publishBatch, recvBatch) })
	b.Run("each-each", func(b *testing.B) { handOver(b, publishEach, recvEach) })
	b.Run("each-batch", func(b *testing.B) { handOver(b, publishEach, recvBatch) })
	b.Run("go-channel", func(b *testing.B) {
		events := make(chan [eventBytes]byte, benchRing/eventBytes)
		b.SetBytes(eventBytes)
		go func() {
			runtime.LockOSThread()
			var payload [eventBytes]byte
			for range b.N {
				events <- payload
			}
		}()
		for range b.N {
			payload := <-events
			sink += uint64(payload[0])
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
	})
}

// One side at a time, in one goroutine: fill the ring, then empty it. This is the cost of a batch without
// waiting for another core.
func BenchmarkAlternate(b *testing.B) {
	publisher, subscriber := pair(b, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: benchRing},
		railbus.SubscriberOptions{})
	for b.Loop() {
		if err := publishStrided(publisher, benchBatch); err != nil {
			b.Fatal(err)
		}
		if err := recvBatch(subscriber, benchBatch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds()/1e6, "Mevents/s")
}
