package railbus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"railbus"
)

// No call that publishes, receives or takes allocates: not with a context that may be cancelled or has a
// deadline, not when there is nothing, and not when events are only in batches.
func TestNoCallAllocates(t *testing.T) {
	publisher, subscriber := pair(t, broadcasts[0], railbus.SubscriberOptions{})
	_, producer, worker := queue2(t)
	cancellable, cancel := context.WithCancel(background)
	defer cancel()
	ending, cancel := context.WithTimeout(background, time.Hour)
	defer cancel()
	payload := make([]byte, 64)
	payloads := [][]byte{payload, payload, payload}
	strided, lengths := make([]byte, 3*64), []uint32{64, 1, 2}
	events, jobs := make([]railbus.Event, 8), make([]railbus.Job, 8)
	buffer := &railbus.Buffer{Payloads: make([]byte, 8*64), Stride: 64, Lengths: make([]uint32, 8)}
	attributes := railbus.Attributes{TypeID: 1, Has: railbus.HasTime, PublishedNS: 1}
	receive := func() error { _, err := subscriber.TryRecvBatch(events); return err }

	calls := map[string]func(ctx context.Context) error{
		"Publish, Recv": func(ctx context.Context) error {
			if _, err := publisher.Publish(ctx, payload); err != nil {
				return err
			}
			event, err := subscriber.Recv(ctx)
			sink += uint64(len(event.Payload()))
			return err
		},
		"TryPublish, TryRecv": func(context.Context) error {
			if _, err := publisher.TryPublish(payload); err != nil {
				return err
			}
			_, err := subscriber.TryRecv()
			return err
		},
		"a payload on the stack": func(ctx context.Context) error {
			var payload [32]byte
			if _, err := publisher.Publish(ctx, payload[:]); err != nil {
				return err
			}
			var events [4]railbus.Event
			_, err := subscriber.RecvBatch(ctx, events[:])
			return err
		},
		"TryRecv of nothing": func(context.Context) error {
			if _, err := subscriber.TryRecv(); !errors.Is(err, railbus.ErrEmpty) {
				return fmt.Errorf("not empty: %v", err)
			}
			return nil
		},
		"PublishWith, Attributes": func(ctx context.Context) error {
			if _, err := publisher.PublishWith(ctx, payload, attributes); err != nil {
				return err
			}
			event, err := subscriber.Recv(ctx)
			sink += event.Attributes().PublishedNS
			return err
		},
		"Claim, Commit, deferred Abort": func(ctx context.Context) error {
			claim, err := publisher.Claim(ctx, 64)
			if err != nil {
				return err
			}
			defer claim.Abort()
			copy(claim.Payload(), payload)
			if _, err := claim.Commit(64); err != nil {
				return err
			}
			return receive()
		},
		"PublishBatch, RecvBatch": func(ctx context.Context) error {
			if _, err := publisher.PublishBatch(ctx, payloads); err != nil {
				return err
			}
			_, err := subscriber.RecvBatch(ctx, events)
			return err
		},
		"PublishStrided, RecvInto": func(ctx context.Context) error {
			if _, err := publisher.PublishStrided(ctx, strided, 64, lengths); err != nil {
				return err
			}
			_, err := subscriber.RecvInto(ctx, buffer)
			return err
		},
		"Events": func(ctx context.Context) error {
			if _, err := publisher.Publish(ctx, payload); err != nil {
				return err
			}
			for event, err := range subscriber.Events(ctx) {
				sink += event.Position()
				return err
			}
			return nil
		},
		"Publish, Take, Done": func(ctx context.Context) error {
			if _, err := producer.Publish(ctx, payload); err != nil {
				return err
			}
			job, err := worker.Take(ctx)
			if err != nil {
				return err
			}
			return worker.Done(job)
		},
		"PublishBatch, TakeBatch, DoneBatch": func(ctx context.Context) error {
			if _, err := producer.PublishBatch(ctx, payloads); err != nil {
				return err
			}
			count, err := worker.TakeBatch(ctx, jobs)
			if err != nil {
				return err
			}
			return worker.DoneBatch(jobs[:count])
		},
	}
	for name, call := range calls {
		for kind, ctx := range map[string]context.Context{
			"no end": background, "a way to cancel": cancellable, "a deadline": ending,
		} {
			allocations := testing.AllocsPerRun(200, func() {
				if err := call(ctx); err != nil {
					t.Fatalf("%s with %s: %v", name, kind, err)
				}
			})
			if allocations != 0 {
				t.Errorf("%s, with a context with %s, allocates %v times", name, kind, allocations)
			}
		}
	}
}

// queue2 is a queue beside another channel of the test.
func queue2(t *testing.T) (*railbus.Channel, *railbus.Producer, *railbus.Worker) {
	bus := must(railbus.Open(busName(t)))(t)
	t.Cleanup(func() { bus.Close() })
	channel := must(bus.Create("queue", railbus.ChannelOptions{Kind: railbus.Queue}))(t)
	t.Cleanup(func() { channel.Close() })
	worker := must(channel.Worker(railbus.WorkerOptions{}))(t)
	t.Cleanup(func() { worker.Close() })
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	t.Cleanup(func() { producer.Close() })
	return channel, producer, worker
}

// residentKiB is how much memory this process has, and descriptors how many files are open.
func footprint(t testing.TB) (residentKiB, descriptors int) {
	t.Helper()
	runtime.GC()
	_, status, _ := strings.Cut(string(must(os.ReadFile("/proc/self/status"))(t)), "VmRSS:")
	if _, err := fmt.Sscan(status, &residentKiB); err != nil {
		t.Fatal(err)
	}
	return residentKiB, len(must(os.ReadDir("/proc/self/fd"))(t))
}

// Opening and closing everything leaks neither memory nor descriptors.
func TestNothingLeaks(t *testing.T) {
	rounds := 300
	if os.Getenv("RAILBUS_DEEP") != "" {
		rounds = 100000
	}
	topic := newChannel(t, railbus.ChannelOptions{Kind: railbus.Topic, Slots: 64})
	stream, _, _ := queue2(t)
	// Once, because it remembers each call until the test ends.
	name := busName(t)
	round := func() {
		bus := must(railbus.Open(name))(t)
		channel := must(bus.Attach("channel"))(t)
		publisher := must(topic.Publisher(railbus.SenderOptions{}))(t)
		subscriber := must(topic.Subscriber(railbus.SubscriberOptions{}))(t)
		worker := must(stream.Worker(railbus.WorkerOptions{}))(t)
		bridge := must(topic.Bridge())(t)
		must(publisher.TryPublishBatch([][]byte{text(1), text(2)}))(t)
		must(subscriber.TryRecv())(t)
		must(publisher.TryClaim(8))(t)
		check(t, bridge.Close())
		check(t, worker.Close())
		check(t, subscriber.Close())
		check(t, publisher.Close())
		check(t, channel.Close())
		check(t, bus.Close())
	}
	for range max(rounds/10, 100) {
		round()
	}
	residentBefore, descriptorsBefore := footprint(t)
	for range rounds {
		round()
	}
	resident, descriptors := footprint(t)
	if descriptors > descriptorsBefore {
		t.Errorf("%d descriptors after %d rounds, %d before", descriptors, rounds, descriptorsBefore)
	}
	// The collector's heap grows by steps. A leak of each round's batch memory alone would be 112 KiB times
	// the rounds.
	if resident > residentBefore+8192 {
		t.Errorf("%d KiB resident after %d rounds, %d before", resident, rounds, residentBefore)
	}
}

func TestPinTiesTheThread(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// One lock more than Pin takes, so that the thread after unpin is the same.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := must(railbus.Processors())(t)
		for _, cpu := range before[:1] {
			unpin, err := railbus.Pin(cpu)
			if err != nil {
				t.Error(err)
				return
			}
			if pinned := must(railbus.Processors())(t); !slices.Equal(pinned, []int{cpu}) {
				t.Errorf("pinned to %d, the thread may run on %v", cpu, pinned)
			}
			unpin()
			if after := must(railbus.Processors())(t); !slices.Equal(after, before) {
				t.Errorf("no longer pinned, the thread may run on %v, before on %v", after, before)
			}
		}
	}()
	<-done
	for _, wrong := range []int{-1, 8192, 8191} {
		if _, err := railbus.Pin(wrong); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("pinned to processor %d: %v", wrong, err)
		}
	}
}
