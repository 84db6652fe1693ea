package railbus_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"railbus"
)

// shortly is a context that ends soon: long enough to begin waiting in the library, in slices and a part
// of one.
func shortly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(background, 70*time.Millisecond)
}

// waits are all ways to wait: for events that do not come, and for room that is not made.
func waits(t *testing.T) map[string]func(context.Context) error {
	publisher, _ := pair(t, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 4096}, railbus.SubscriberOptions{})
	var err error
	for err == nil {
		_, err = publisher.TryPublish(nil)
	}
	bus := must(railbus.Open(busName(t)))(t)
	t.Cleanup(func() { bus.Close() })
	open := func(name string, kind railbus.Kind) *railbus.Channel {
		channel := must(bus.Create(name, railbus.ChannelOptions{Kind: kind}))(t)
		t.Cleanup(func() {
			channel.Close()
			bus.Remove(name)
		})
		return channel
	}
	topic, queue := open("topic", railbus.Topic), open("queue", railbus.Queue)
	subscriber := must(topic.Subscriber(railbus.SubscriberOptions{}))(t)
	t.Cleanup(func() { subscriber.Close() })
	worker := must(queue.Worker(railbus.WorkerOptions{}))(t)
	t.Cleanup(func() { worker.Close() })
	bridge := must(topic.Bridge())(t)
	t.Cleanup(func() { bridge.Close() })
	return map[string]func(context.Context) error{
		"Publish": func(ctx context.Context) error { _, err := publisher.Publish(ctx, nil); return err },
		"PublishWith": func(ctx context.Context) error {
			_, err := publisher.PublishWith(ctx, nil, railbus.Attributes{})
			return err
		},
		"Claim": func(ctx context.Context) error { _, err := publisher.Claim(ctx, 1); return err },
		"PublishBatch": func(ctx context.Context) error {
			_, err := publisher.PublishBatch(ctx, [][]byte{nil})
			return err
		},
		"PublishStrided": func(ctx context.Context) error {
			_, err := publisher.PublishStrided(ctx, make([]byte, 8), 8, nil)
			return err
		},
		"Recv": func(ctx context.Context) error { _, err := subscriber.Recv(ctx); return err },
		"RecvBatch": func(ctx context.Context) error {
			_, err := subscriber.RecvBatch(ctx, make([]railbus.Event, 2))
			return err
		},
		"RecvInto": func(ctx context.Context) error {
			_, err := subscriber.RecvInto(ctx, &railbus.Buffer{Payloads: make([]byte, 8), Stride: 8})
			return err
		},
		"Events": func(ctx context.Context) (last error) {
			for _, err := range subscriber.Events(ctx) {
				last = err
			}
			return last
		},
		"Batches": func(ctx context.Context) (last error) {
			for _, err := range subscriber.Batches(ctx, 8) {
				last = err
			}
			return last
		},
		"Take":      func(ctx context.Context) error { _, err := worker.Take(ctx); return err },
		"TakeBatch": func(ctx context.Context) error { _, err := worker.TakeBatch(ctx, make([]railbus.Job, 2)); return err },
		"Jobs": func(ctx context.Context) (last error) {
			for _, err := range worker.Jobs(ctx) {
				last = err
			}
			return last
		},
		"WaitFor": func(ctx context.Context) error { return waitLong(ctx, bridge, subscriber) },
	}
}

// waitLong waits on through spurious wake-ups.
func waitLong(ctx context.Context, bridge *railbus.Bridge, what railbus.Armer) error {
	for {
		if err := bridge.WaitFor(ctx, what); err != nil {
			return err
		}
	}
}

func TestContextsEndWaits(t *testing.T) {
	for name, wait := range waits(t) {
		cancelled, cancel := context.WithCancel(background)
		cancel()
		if err := wait(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that is done: %v", name, err)
		}
		ctx, cancel := shortly()
		if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s until a deadline: %v", name, err)
		}
		cancel()
		ctx, cancel = context.WithCancel(background)
		time.AfterFunc(20*time.Millisecond, cancel)
		if err := wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s until cancelled: %v", name, err)
		}
	}
}

func TestCloseEndsWaits(t *testing.T) {
	publisher, _ := pair(t, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 4096}, railbus.SubscriberOptions{})
	var err error
	for err == nil {
		_, err = publisher.TryPublish(nil)
	}
	channel := must(must(railbus.Open(busName(t)))(t).Create("queue", railbus.ChannelOptions{Kind: railbus.Queue}))(t)
	defer channel.Close()
	tap := must(channel.Tap(railbus.SubscriberOptions{}))(t)
	worker := must(channel.Worker(railbus.WorkerOptions{}))(t)
	other := must(channel.Worker(railbus.WorkerOptions{}))(t)
	defer other.Close()
	bridge := must(channel.Bridge())(t)
	for _, one := range []struct {
		name string
		io.Closer
		wait func() error
	}{
		{"Publisher", publisher, func() error { _, err := publisher.Publish(background, nil); return err }},
		{"Subscriber", tap, func() error { _, err := tap.Recv(background); return err }},
		{"Worker", worker, func() error { _, err := worker.Take(background); return err }},
		{"Bridge", bridge, func() error { return waitLong(background, bridge, other) }},
	} {
		ended := make(chan error)
		go func() { ended <- one.wait() }()
		time.Sleep(10 * time.Millisecond)
		check(t, one.Close())
		select {
		case err := <-ended:
			if !errors.Is(err, railbus.ErrClosed) {
				t.Errorf("a closed %s ended its wait with %v", one.name, err)
			}
		case <-time.After(patience):
			t.Fatalf("a closed %s waits on", one.name)
		}
	}
}

func TestClosedHandlesSaySo(t *testing.T) {
	bus := must(railbus.Open(busName(t)))(t)
	topic := must(bus.Create("topic", railbus.ChannelOptions{Kind: railbus.Topic}))(t)
	queue := must(bus.Create("queue", railbus.ChannelOptions{Kind: railbus.Queue}))(t)
	publisher := must(topic.Publisher(railbus.SenderOptions{}))(t)
	producer := must(queue.Producer(railbus.SenderOptions{}))(t)
	subscriber := must(topic.Subscriber(railbus.SubscriberOptions{}))(t)
	worker := must(queue.Worker(railbus.WorkerOptions{}))(t)
	bridge := must(topic.Bridge())(t)
	claim := must(publisher.TryClaim(8))(t)
	for _, one := range []io.Closer{bridge, worker, subscriber, producer, publisher, queue, topic} {
		check(t, one.Close())
	}
	check(t, bus.Remove("topic"))
	check(t, bus.Remove("queue"))
	check(t, bus.Close())

	zero := new(railbus.Publisher)
	events, jobs := make([]railbus.Event, 2), make([]railbus.Job, 2)
	buffer := &railbus.Buffer{Payloads: make([]byte, 8), Stride: 8}
	short := make([]byte, 8)
	calls := map[string]func() error{
		"Bus.List":              func() error { _, err := bus.List(); return err },
		"Bus.Remove":            func() error { return bus.Remove("topic") },
		"Bus.Create":            func() error { _, err := bus.Create("a", railbus.ChannelOptions{Kind: railbus.Topic}); return err },
		"Bus.Attach":            func() error { _, err := bus.Attach("topic"); return err },
		"Bus.Close":             bus.Close,
		"Channel.Publisher":     func() error { _, err := topic.Publisher(railbus.SenderOptions{}); return err },
		"Channel.Producer":      func() error { _, err := queue.Producer(railbus.SenderOptions{}); return err },
		"Channel.Subscriber":    func() error { _, err := topic.Subscriber(railbus.SubscriberOptions{}); return err },
		"Channel.Tap":           func() error { _, err := queue.Tap(railbus.SubscriberOptions{}); return err },
		"Channel.Worker":        func() error { _, err := queue.Worker(railbus.WorkerOptions{}); return err },
		"Channel.Bridge":        func() error { _, err := topic.Bridge(); return err },
		"Channel.Snapshot":      func() error { _, err := topic.Snapshot(); return err },
		"Channel.Repair":        func() error { _, err := topic.Repair(); return err },
		"Channel.Evict":         func() error { _, err := topic.Evict(railbus.Consumers, 0, 0); return err },
		"Channel.Close":         topic.Close,
		"Publisher.Publish":     func() error { _, err := publisher.Publish(background, short); return err },
		"Publisher.TryPublish":  func() error { _, err := publisher.TryPublish(short); return err },
		"Publisher.PublishWith": func() error { _, err := publisher.PublishWith(background, short, railbus.Attributes{}); return err },
		"Publisher.TryWith":     func() error { _, err := publisher.TryPublishWith(short, railbus.Attributes{}); return err },
		"Publisher.Numbered": func() error {
			_, err := publisher.PublishNumbered(background, 1, short, railbus.Attributes{})
			return err
		},
		"Publisher.Batch":         func() error { _, err := publisher.PublishBatch(background, [][]byte{short}); return err },
		"Publisher.TryBatch":      func() error { _, err := publisher.TryPublishBatch([][]byte{short}); return err },
		"Publisher.Strided":       func() error { _, err := publisher.PublishStrided(background, short, 8, nil); return err },
		"Publisher.TryStrided":    func() error { _, err := publisher.TryPublishStrided(short, 8, nil); return err },
		"Publisher.Claim":         func() error { _, err := publisher.Claim(background, 8); return err },
		"Publisher.TryClaim":      func() error { _, err := publisher.TryClaim(8); return err },
		"Publisher.Readers":       func() error { _, err := publisher.Readers(); return err },
		"Publisher.Stats":         func() error { _, err := publisher.Stats(); return err },
		"Publisher.Close":         publisher.Close,
		"Claim.Commit":            func() error { _, err := claim.Commit(8); return err },
		"Claim.Abort":             claim.Abort,
		"Producer.Publish":        func() error { _, err := producer.Publish(background, short); return err },
		"Producer.Close":          producer.Close,
		"Subscriber.Recv":         func() error { _, err := subscriber.Recv(background); return err },
		"Subscriber.TryRecv":      func() error { _, err := subscriber.TryRecv(); return err },
		"Subscriber.RecvBatch":    func() error { _, err := subscriber.RecvBatch(background, events); return err },
		"Subscriber.TryRecvBatch": func() error { _, err := subscriber.TryRecvBatch(events); return err },
		"Subscriber.RecvInto":     func() error { _, err := subscriber.RecvInto(background, buffer); return err },
		"Subscriber.TryRecvInto":  func() error { _, err := subscriber.TryRecvInto(buffer); return err },
		"Subscriber.Release":      subscriber.Release,
		"Subscriber.Stats":        func() error { _, err := subscriber.Stats(); return err },
		"Subscriber.Close":        subscriber.Close,
		"Worker.Take":             func() error { _, err := worker.Take(background); return err },
		"Worker.TryTake":          func() error { _, err := worker.TryTake(); return err },
		"Worker.TakeBatch":        func() error { _, err := worker.TakeBatch(background, jobs); return err },
		"Worker.TryTakeBatch":     func() error { _, err := worker.TryTakeBatch(jobs); return err },
		"Worker.Done":             func() error { return worker.Done(railbus.Job{}) },
		"Worker.DoneBatch":        func() error { return worker.DoneBatch(jobs) },
		"Worker.Retry":            func() error { return worker.Retry(railbus.Job{}) },
		"Worker.RetryBatch":       func() error { return worker.RetryBatch(jobs) },
		"Worker.Stats":            func() error { _, err := worker.Stats(); return err },
		"Worker.Close":            worker.Close,
		"Bridge.Arm":              func() error { return bridge.Arm(subscriber) },
		"Bridge.Drain":            bridge.Drain,
		"Bridge.WaitFor":          func() error { return bridge.WaitFor(background, worker) },
		"Bridge.Close":            bridge.Close,
		"a Publisher of nothing":  func() error { _, err := zero.TryPublish(short); return err },
		"closing it":              zero.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, railbus.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := (railbus.Claim{}).Abort(); !errors.Is(err, railbus.ErrClaim) {
		t.Errorf("a claim that never was: %v", err)
	}
	if header := topic.Header(); header.Name != "topic" {
		t.Errorf("the header of a closed channel is %+v", header)
	}
}

// Close while other goroutines use the handle, under the race detector: every call either works or
// returns ErrClosed.
func TestCloseWhileOthersUseTheHandle(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Queue, Slots: 64})
	for range 20 {
		producer := must(channel.Producer(railbus.SenderOptions{}))(t)
		worker := must(channel.Worker(railbus.WorkerOptions{}))(t)
		bridge := must(channel.Bridge())(t)
		payloads := [][]byte{text(1), text(2)}
		var busy sync.WaitGroup
		for _, use := range []func() error{
			func() error { _, err := producer.TryPublish(text(3)); return err },
			func() error { _, err := producer.TryPublishBatch(payloads); return err },
			func() error { claim, err := producer.TryClaim(8); _ = err; return claim.Abort() },
			func() error { _, err := producer.Stats(); return err },
			func() error {
				job, err := worker.TryTake()
				if err == nil {
					err = worker.Done(job)
				}
				return err
			},
			func() error { _, err := worker.Stats(); return err },
			func() error { return bridge.Arm(worker) },
			func() error { _, err := channel.Snapshot(); return err },
		} {
			spawn(&busy, func() {
				for range 50 {
					err := use()
					var code railbus.Code
					if err != nil && !errors.As(err, &code) {
						t.Error(err)
					}
				}
			})
		}
		spawn(&busy, func() {
			runtime.Gosched()
			if err := errors.Join(producer.Close(), worker.Close(), bridge.Close()); err != nil {
				t.Error(err)
			}
		})
		busy.Wait()
	}
}

// Forgotten handles are closed in the end.
func TestForgottenHandlesAreClosed(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream})
	func() {
		publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
		must(publisher.TryPublishBatch([][]byte{text(1)}))(t)
		must(publisher.TryClaim(8))(t)
	}()
	if _, err := channel.Publisher(railbus.SenderOptions{}); err != nil && !errors.Is(err, railbus.ErrBusy) {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		runtime.GC()
		publisher, err := channel.Publisher(railbus.SenderOptions{})
		if err == nil {
			check(t, publisher.Close())
			return
		}
		if !errors.Is(err, railbus.ErrBusy) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestIterationEndsWithTheChannel(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{UntilClosed: true})
		must(publisher.TryPublish(text(0)))(t)
		check(t, publisher.Close())
		seen := 0
		for event, err := range subscriber.Events(soon(t)) {
			check(t, err)
			wantText(t, event, 0)
			seen++
		}
		if seen != 1 {
			t.Errorf("%d events", seen)
		}
		for range subscriber.Batches(soon(t), 4) {
			t.Error("a batch behind the end")
		}
		if _, err := subscriber.Recv(background); !errors.Is(err, railbus.ErrEnded) || !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %v", err)
		}
		for _, err := range subscriber.Batches(background, 0) {
			if !errors.Is(err, railbus.ErrInvalid) {
				t.Errorf("batches of none: %v", err)
			}
		}
	})
}

func TestABridgeWakesForEvents(t *testing.T) {
	publisher, subscriber := pair(t, broadcasts[1], railbus.SubscriberOptions{})
	channel := must(must(railbus.Open(busName(t)))(t).Attach("channel"))(t)
	defer channel.Close()
	bridge := must(channel.Bridge())(t)
	defer bridge.Close()
	if bridge.FD() < 0 {
		t.Errorf("descriptor %d", bridge.FD())
	}
	const events = 200
	ctx, failed := soon(t), make(chan error, 1)
	go func() {
		for i := range events {
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
			if _, err := publisher.Publish(ctx, text(i)); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for i := 0; i < events; {
		event, err := subscriber.TryRecv()
		if err == railbus.ErrEmpty {
			check(t, bridge.WaitFor(ctx, subscriber))
			continue
		}
		check(t, err)
		wantText(t, event, i)
		i++
	}
	check(t, <-failed)
}
