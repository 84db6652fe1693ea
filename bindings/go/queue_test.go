package railbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"railbus"
)

func queue(t testing.TB, options railbus.ChannelOptions) (*railbus.Channel, *railbus.Producer, *railbus.Worker) {
	t.Helper()
	options.Kind = railbus.Queue
	channel := newChannel(t, options)
	worker := must(channel.Worker(railbus.WorkerOptions{}))(t)
	t.Cleanup(func() { worker.Close() })
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	t.Cleanup(func() { producer.Close() })
	return channel, producer, worker
}

func TestJobsStayInHandUntilDone(t *testing.T) {
	_, producer, worker := queue(t, railbus.ChannelOptions{})
	for i := range 10 {
		must(producer.TryPublish(text(i)))(t)
	}
	var held []railbus.Job
	for range 10 {
		held = append(held, must(worker.TryTake())(t))
	}
	if _, err := worker.TryTake(); err != railbus.ErrEmpty {
		t.Errorf("behind the last: %v", err)
	}
	// Done in another order than taken, all at once and one by one.
	slices.Reverse(held)
	for i, job := range held {
		wantText(t, job.Event, 9-i)
		if job.Attempt() != 1 {
			t.Errorf("attempt %d", job.Attempt())
		}
	}
	check(t, worker.DoneBatch(held[:5]))
	for _, job := range held[5:] {
		check(t, worker.Done(job))
	}
	if err := worker.Done(held[0]); !errors.Is(err, railbus.ErrNotHeld) {
		t.Errorf("done twice: %v", err)
	}
	if err := worker.Retry(held[0]); !errors.Is(err, railbus.ErrNotHeld) {
		t.Errorf("handed back when done: %v", err)
	}
	check(t, worker.DoneBatch(nil))
	if stats := must(worker.Stats())(t); stats.Events != 10 || stats.InHand != 0 {
		t.Errorf("the stats are %+v", stats)
	}
}

func TestRetryAndDeadLetters(t *testing.T) {
	channel, producer, worker := queue(t, railbus.ChannelOptions{MaxAttempts: 2})
	position := must(producer.TryPublish([]byte("bad")))(t)
	for attempt := 1; attempt <= 2; attempt++ {
		job := must(worker.Take(soon(t)))(t)
		if job.Attempt() != attempt {
			t.Errorf("attempt %d, wanted %d", job.Attempt(), attempt)
		}
		check(t, worker.RetryBatch([]railbus.Job{job}))
	}
	if _, err := worker.TryTake(); err != railbus.ErrEmpty {
		t.Errorf("after the last attempt: %v", err)
	}
	bus := must(railbus.Open(busName(t)))(t)
	defer bus.Close()
	dead := must(bus.Attach(channel.Header().DeadLetters))(t)
	defer bus.Remove(channel.Header().DeadLetters)
	defer dead.Close()
	undertaker := must(dead.Worker(railbus.WorkerOptions{}))(t)
	defer undertaker.Close()
	job := must(undertaker.Take(soon(t)))(t)
	attributes := job.Attributes()
	if job.Has()&railbus.HasOrigin == 0 || attributes.Origin.Position != position || attributes.Origin.Attempts != 2 {
		t.Errorf("the dead letter has %+v", attributes)
	}
	if !bytes.Equal(job.Payload(), []byte("bad")) {
		t.Errorf("the dead letter is %q", job.Payload())
	}
	check(t, undertaker.Done(job))
}

func TestATapTakesNothing(t *testing.T) {
	channel, producer, worker := queue(t, railbus.ChannelOptions{})
	tap := must(channel.Tap(railbus.SubscriberOptions{}))(t)
	defer tap.Close()
	for i := range 5 {
		must(producer.TryPublish(text(i)))(t)
	}
	for i := range 5 {
		wantText(t, must(tap.Recv(soon(t)))(t), i)
	}
	jobs := make([]railbus.Job, 8)
	if count := must(worker.TakeBatch(soon(t), jobs))(t); count != 5 {
		t.Errorf("took %d", count)
	}
	check(t, worker.DoneBatch(jobs[:5]))
}

func TestAQueueWithoutWorkersSaysSo(t *testing.T) {
	_, producer, worker := queue(t, railbus.ChannelOptions{Slots: 64})
	check(t, worker.Close())
	var err error
	for err == nil {
		_, err = producer.TryPublish([]byte("x"))
	}
	if !errors.Is(err, railbus.ErrNoWorker) {
		t.Errorf("a full queue without workers: %v", err)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := producer.Publish(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	ctx, cancel = context.WithTimeout(background, 1)
	defer cancel()
	if _, err := producer.Publish(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("until a deadline: %v", err)
	}
	ctx, cancel = shortly()
	defer cancel()
	_, err = producer.Publish(ctx, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, railbus.ErrNoWorker) {
		t.Errorf("after waiting in vain: %v", err)
	}
}

func TestDroppedEventsAreToldAndCounted(t *testing.T) {
	publisher, _ := pair(t, railbus.ChannelOptions{Kind: railbus.Topic, Slots: 64, Overflow: railbus.OverflowDropNewest},
		railbus.SubscriberOptions{})
	for range 64 {
		must(publisher.Publish(background, []byte("kept")))(t)
	}
	for range 3 {
		if _, err := publisher.Publish(background, []byte("dropped")); !errors.Is(err, railbus.ErrDropped) {
			t.Errorf("into a full channel: %v", err)
		}
		if _, err := publisher.Claim(background, 8); !errors.Is(err, railbus.ErrDropped) {
			t.Errorf("a claim in a full channel: %v", err)
		}
	}
	if stats := must(publisher.Stats())(t); stats.Events != 64 || stats.Dropped != 6 {
		t.Errorf("the stats are %+v", stats)
	}
}

func TestEventsWithoutRoomAreDivertedAndPressureIsTold(t *testing.T) {
	bus := newBus(t)
	spill := must(bus.Create("spill", railbus.ChannelOptions{Kind: railbus.Queue, Slots: 64, SlotBytes: 512}))(t)
	defer spill.Close()
	channel := must(bus.Create("full", railbus.ChannelOptions{
		Kind: railbus.Queue, Slots: 64, Overflow: railbus.OverflowDivert, DivertTo: "spill", HighWatermark: 75,
		LowWatermark: 25, Credits: 64,
	}))(t)
	defer channel.Close()
	header := channel.Header()
	if header.DivertTo != "spill" || header.HighWatermark != 75 || header.LowWatermark != 25 || header.Credits != 64 {
		t.Errorf("the header is %+v", header)
	}
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	defer producer.Close()
	for i := range 64 {
		if stats := must(producer.Stats())(t); stats.UnderPressure != (i >= 48) {
			t.Fatalf("with %d events the stats are %+v", i, stats)
		}
		must(producer.Publish(background, []byte("kept")))(t)
	}
	if _, err := producer.Publish(background, []byte("diverted")); !errors.Is(err, railbus.ErrDiverted) {
		t.Errorf("into a full channel: %v", err)
	}
	soon, cancel := context.WithTimeout(background, time.Millisecond)
	defer cancel()
	if _, err := producer.Claim(soon, 8); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a claim in a full channel: %v", err)
	}
	stats := must(producer.Stats())(t)
	if stats.Events != 64 || stats.Diverted != 1 || stats.Dropped != 0 ||
		stats.Refusal != "all 64 credits of this producer are used up: event 0 waits for a worker to take it" {
		t.Errorf("the stats are %+v", stats)
	}
}

// Several goroutines publish through one handle, and several take from one: nothing is lost and nothing
// doubled.
func TestGoroutinesTakeTurns(t *testing.T) {
	const goroutines, each = 4, 500
	_, producer, worker := queue(t, railbus.ChannelOptions{Slots: 64})
	ctx, stop := context.WithCancel(soon(t))
	var publishing, working sync.WaitGroup
	failed := make(chan error, 2*goroutines)
	for g := range goroutines {
		spawn(&publishing, func() {
			for i := range each {
				if _, err := producer.Publish(ctx, fmt.Appendf(nil, "%d-%d", g, i)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var mutex sync.Mutex
	seen := map[string]int{}
	for range goroutines {
		spawn(&working, func() {
			for job, err := range worker.Jobs(ctx) {
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						failed <- err
					}
					return
				}
				mutex.Lock()
				seen[string(job.Payload())]++
				all := len(seen) == goroutines*each
				mutex.Unlock()
				if err := worker.Done(job); err != nil {
					failed <- err
					return
				}
				if all {
					stop()
				}
			}
		})
	}
	publishing.Wait()
	working.Wait()
	stop()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	for name, times := range seen {
		if times != 1 {
			t.Errorf("%s was taken %d times", name, times)
		}
	}
	if len(seen) != goroutines*each {
		t.Errorf("%d events came", len(seen))
	}
}
