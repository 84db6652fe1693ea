package railbus_test

// A wait that its context ends has received nothing: whenever it ends, the event is still there for the
// next call.

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"railbus"
)

// cancelled calls receive with contexts that end at any moment, until it has received that many events.
func cancelled(t *testing.T, events int, receive func(ctx context.Context) ([]byte, error)) {
	patient := soon(t)
	for next := 0; next < events; {
		if patient.Err() != nil {
			t.Fatalf("event %d never came", next)
		}
		ctx, cancel := context.WithTimeout(background, time.Duration(rand.IntN(100))*time.Microsecond)
		if rand.IntN(2) == 0 {
			cancel()
			ctx, cancel = context.WithCancel(background)
			time.AfterFunc(time.Duration(rand.IntN(100))*time.Microsecond, cancel)
		}
		payload, err := receive(ctx)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			continue
		}
		if string(payload) != string(text(next)) {
			t.Fatalf("event %d is %q", next, payload)
		}
		next++
	}
}

// feed publishes that many events, with pauses in which receivers come to wait.
func feed(t *testing.T, events int, publish func(ctx context.Context, payload []byte) (uint64, error)) {
	ctx := soon(t)
	go func() {
		for i := range events {
			if _, err := publish(ctx, text(i)); err != nil {
				t.Error(err)
				return
			}
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			}
		}
	}()
}

func TestACancelledReceiveHasReceivedNothing(t *testing.T) {
	const events = 2000
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
		into := railbus.Buffer{Payloads: make([]byte, 64), Stride: 64, Lengths: make([]uint32, 1)}
		batch, turn := make([]railbus.Event, 1), 0
		feed(t, events, publisher.Publish)
		cancelled(t, events, func(ctx context.Context) ([]byte, error) {
			turn++
			switch turn % 4 {
			case 0:
				_, err := subscriber.RecvBatch(ctx, batch)
				return batch[0].Payload(), err
			case 1:
				_, err := subscriber.RecvInto(ctx, &into)
				return into.Payload(0), err
			case 2:
				// A loop that is left early has also had every event that it received.
				for event, err := range subscriber.Events(ctx) {
					return event.Payload(), err
				}
			}
			event, err := subscriber.Recv(ctx)
			return event.Payload(), err
		})
	})
}

func TestACancelledTakeHasTakenNothing(t *testing.T) {
	const events = 2000
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Queue, Slots: 256, SlotBytes: 128})
	worker := must(channel.Worker(railbus.WorkerOptions{}))(t)
	defer worker.Close()
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	defer producer.Close()
	batch, turn := make([]railbus.Job, 1), 0
	feed(t, events, producer.Publish)
	cancelled(t, events, func(ctx context.Context) ([]byte, error) {
		turn++
		job, err := railbus.Job{}, error(nil)
		switch turn % 3 {
		case 0:
			_, err = worker.TakeBatch(ctx, batch)
			job = batch[0]
		case 1:
			for job, err = range worker.Jobs(ctx) {
				break
			}
		default:
			job, err = worker.Take(ctx)
		}
		if err != nil {
			return nil, err
		}
		payload := append([]byte(nil), job.Payload()...)
		return payload, worker.Done(job)
	})
	if stats := must(worker.Stats())(t); stats.InHand != 0 || stats.Events != events {
		t.Errorf("%+v", stats)
	}
}
