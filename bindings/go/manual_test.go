package railbus_test

// Manual acknowledgement: only AcknowledgeTo moves the cursor.

import (
	"errors"
	"testing"

	"railbus"
)

func TestOnlyAcknowledgeToMovesAManualCursor(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		manual := railbus.SubscriberOptions{Name: "batches", Durable: true, Manual: true}
		channel := newChannel(t, options)
		open := func() *railbus.Subscriber { return must(channel.Subscriber(manual))(t) }
		check(t, open().Close())
		publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
		defer publisher.Close()
		const events = 20
		for i := range events {
			must(publisher.TryPublish(text(i)))(t)
		}
		// left receives all events that are there, in batches, and returns the positions.
		left := func(subscriber *railbus.Subscriber, first int) []uint64 {
			positions := make([]uint64, events)
			batch := make([]railbus.Event, events+1)
			for next := first; next < events; {
				// Events that a topic held before a name resumed are copied, one at a time.
				count := must(subscriber.TryRecvBatch(batch))(t)
				for _, event := range batch[:count] {
					wantText(t, event, next)
					positions[next] = event.Position()
					next++
				}
			}
			return positions
		}
		for range 2 {
			subscriber := open()
			left(subscriber, 0)
			if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
				t.Errorf("behind the last event: %v", err)
			}
			check(t, subscriber.Release())
			check(t, subscriber.Close())
		}
		subscriber := open()
		positions := left(subscriber, 0)
		for _, position := range []uint64{positions[3], positions[7], positions[7], positions[0]} {
			check(t, subscriber.AcknowledgeTo(position))
		}
		stats := must(subscriber.Stats())(t)
		if stats.Acknowledged != positions[7] {
			t.Errorf("%+v, acknowledged to %d", stats, positions[7])
		}
		if err := subscriber.AcknowledgeTo(stats.Position + 1); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("beyond what was received: %v", err)
		}
		check(t, subscriber.Close())
		subscriber = open()
		left(subscriber, 7)
		check(t, subscriber.AcknowledgeTo(must(subscriber.Stats())(t).Position))
		check(t, subscriber.Close())
		if err := subscriber.AcknowledgeTo(0); !errors.Is(err, railbus.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		subscriber = open()
		defer subscriber.Close()
		if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
			t.Errorf("all was acknowledged: %v", err)
		}
	})
}
