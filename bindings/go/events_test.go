package railbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"railbus"
)

// The kinds in which every subscriber sees every event.
var broadcasts = []railbus.ChannelOptions{
	{Kind: railbus.Stream, CapacityBytes: 64 << 10},
	{Kind: railbus.Topic, Slots: 256, SlotBytes: 256},
}

// eachKind runs a test for streams and for topics.
func eachKind(t *testing.T, test func(*testing.T, railbus.ChannelOptions)) {
	for _, options := range broadcasts {
		t.Run(options.Kind.String(), func(t *testing.T) { test(t, options) })
	}
}

// text is the payload of event i; the lengths differ.
func text(i int) []byte { return fmt.Appendf(nil, "event %d%s", i, bytes.Repeat([]byte{'.'}, i%29)) }

func wantText(t testing.TB, event railbus.Event, i int) {
	t.Helper()
	if !bytes.Equal(event.Payload(), text(i)) || event.Len() != len(text(i)) {
		t.Fatalf("event %d is %q, wanted %q", i, event.Payload(), text(i))
	}
}

// Every way to publish reaches every way to receive, in order and whole.
func TestEveryWayToPublishReachesEveryWayToReceive(t *testing.T) {
	const events = 1000
	type publish = func(context.Context, *railbus.Publisher) error
	each := func(publish func(ctx context.Context, publisher *railbus.Publisher, payload []byte) error) publish {
		return func(ctx context.Context, publisher *railbus.Publisher) error {
			for i := range events {
				if err := publish(ctx, publisher, text(i)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	publishers := map[string]publish{
		"Publish": each(func(ctx context.Context, publisher *railbus.Publisher, payload []byte) error {
			_, err := publisher.Publish(ctx, payload)
			return err
		}),
		"PublishWith": each(func(ctx context.Context, publisher *railbus.Publisher, payload []byte) error {
			_, err := publisher.PublishWith(ctx, payload, railbus.Attributes{TypeID: 7})
			return err
		}),
		"Claim": each(func(ctx context.Context, publisher *railbus.Publisher, payload []byte) error {
			claim, err := publisher.Claim(ctx, len(payload)+9)
			if err != nil {
				return err
			}
			_, err = claim.Commit(copy(claim.Payload(), payload))
			return err
		}),
		"PublishBatch": func(ctx context.Context, publisher *railbus.Publisher) error {
			var payloads [][]byte
			for i := range events {
				payloads = append(payloads, text(i))
			}
			published, err := publisher.PublishBatch(ctx, payloads)
			if err == nil && published != events {
				err = fmt.Errorf("%d were published", published)
			}
			return err
		},
		"PublishStrided": func(ctx context.Context, publisher *railbus.Publisher) error {
			const stride = 64
			together, lengths := make([]byte, events*stride), make([]uint32, events)
			for i := range events {
				lengths[i] = uint32(copy(together[i*stride:], text(i)))
			}
			published, err := publisher.PublishStrided(ctx, together, stride, lengths)
			if err == nil && published != events {
				err = fmt.Errorf("%d were published", published)
			}
			return err
		},
	}
	receivers := map[string]func(testing.TB, context.Context, *railbus.Subscriber){
		"Recv": func(t testing.TB, ctx context.Context, subscriber *railbus.Subscriber) {
			for i := range events {
				wantText(t, must(subscriber.Recv(ctx))(t), i)
			}
		},
		"Events": func(t testing.TB, ctx context.Context, subscriber *railbus.Subscriber) {
			i := 0
			for event, err := range subscriber.Events(ctx) {
				check(t, err)
				wantText(t, event, i)
				if i++; i == events {
					break
				}
			}
		},
		"RecvBatch": func(t testing.TB, ctx context.Context, subscriber *railbus.Subscriber) {
			room := make([]railbus.Event, 33)
			for i := 0; i < events; {
				count := must(subscriber.RecvBatch(ctx, room))(t)
				for _, event := range room[:count] {
					wantText(t, event, i)
					i++
				}
			}
		},
		"Batches": func(t testing.TB, ctx context.Context, subscriber *railbus.Subscriber) {
			i := 0
			for batch, err := range subscriber.Batches(ctx, 50) {
				check(t, err)
				for _, event := range batch {
					wantText(t, event, i)
					i++
				}
				if i == events {
					break
				}
			}
		},
		"RecvInto": func(t testing.TB, ctx context.Context, subscriber *railbus.Subscriber) {
			buffer := railbus.Buffer{
				Payloads: make([]byte, 40*64), Stride: 64, Lengths: make([]uint32, 40), Positions: make([]uint64, 40),
			}
			last := uint64(0)
			for i := 0; i < events; {
				count := must(subscriber.RecvInto(ctx, &buffer))(t)
				for k := range count {
					if !bytes.Equal(buffer.Payload(k), text(i)) {
						t.Fatalf("event %d is %q", i, buffer.Payload(k))
					}
					if i > 0 && buffer.Positions[k] <= last {
						t.Fatalf("event %d is at %d, the one before at %d", i, buffer.Positions[k], last)
					}
					last = buffer.Positions[k]
					i++
				}
			}
		},
	}
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		for publishing, publish := range publishers {
			for receiving, receive := range receivers {
				t.Run(publishing+"-"+receiving, func(t *testing.T) {
					publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
					ctx, failed := soon(t), make(chan error, 1)
					go func() { failed <- publish(ctx, publisher) }()
					receive(t, ctx, subscriber)
					check(t, <-failed)
					if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
						t.Errorf("behind the last event: %v", err)
					}
				})
			}
		}
	})
}

// A batch of small payloads, large ones that go one by one, and empty ones, more than one chunk of them.
func TestBatchOfAllSizes(t *testing.T) {
	publisher, subscriber := pair(t, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 1 << 20},
		railbus.SubscriberOptions{})
	var payloads [][]byte
	for i := range 3000 {
		size := []int{0, 1, 63, 64, 1000, 8191, 8192, 30000}[i%8]
		if i > 100 {
			size %= 1000
		}
		payload := make([]byte, size)
		for j := range payload {
			payload[j] = byte(i + j)
		}
		payloads = append(payloads, payload)
	}
	ctx, failed := soon(t), make(chan error, 1)
	go func() {
		published, err := publisher.PublishBatch(ctx, payloads)
		if err == nil && published != len(payloads) {
			err = fmt.Errorf("%d were published", published)
		}
		failed <- err
	}()
	for i, payload := range payloads {
		if event := must(subscriber.Recv(ctx))(t); !bytes.Equal(event.Payload(), payload) {
			t.Fatalf("event %d has %d bytes, wanted %d", i, event.Len(), len(payload))
		}
	}
	check(t, <-failed)
}

func TestBatchWithAPayloadTooLongPublishesNone(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
		payloads := [][]byte{[]byte("short"), make([]byte, publisher.PayloadMax()+1)}
		for _, publish := range []func() (int, error){
			func() (int, error) { return publisher.TryPublishBatch(payloads) },
			func() (int, error) { return publisher.PublishBatch(background, payloads) },
			func() (int, error) {
				return publisher.TryPublishStrided(make([]byte, 2*len(payloads[1])), len(payloads[1]), nil)
			},
		} {
			if count, err := publish(); count != 0 || !errors.Is(err, railbus.ErrTooLong) {
				t.Errorf("published %d, and %v", count, err)
			}
		}
		if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
			t.Errorf("something was published: %v", err)
		}
	})
}

func TestBatchesThatDoNotFit(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
		payloads := make([][]byte, 20000)
		for i := range payloads {
			payloads[i] = binary.LittleEndian.AppendUint64(nil, uint64(i))
		}
		published, err := publisher.TryPublishBatch(payloads)
		if err != railbus.ErrFull || published == 0 || published == len(payloads) {
			t.Fatalf("published %d, and %v", published, err)
		}
		ctx, cancel := context.WithTimeout(background, time.Millisecond)
		defer cancel()
		if more, err := publisher.PublishBatch(ctx, payloads[published:]); more != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("published %d more into a full ring, and %v", more, err)
		}
		for i := range published {
			event := must(subscriber.TryRecv())(t)
			if found := binary.LittleEndian.Uint64(event.Payload()); found != uint64(i) {
				t.Fatalf("event %d is %d", i, found)
			}
		}
		if _, err := subscriber.TryRecv(); err != railbus.ErrEmpty {
			t.Errorf("more was published than said: %v", err)
		}
	})
}

func TestAttributesTravel(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
		sent := railbus.Attributes{
			TypeID: 4711, Has: railbus.HasTime | railbus.HasTrace, PublishedNS: 123456789,
			Trace: railbus.Trace{TraceID: [16]byte{1, 15: 16}, SpanID: [8]byte{17, 7: 24}, Flags: 1},
		}
		must(publisher.PublishWith(background, []byte("first"), sent))(t)
		claim := must(publisher.ClaimWith(background, 6, sent))(t)
		must(claim.Commit(copy(claim.Payload(), "second")))(t)
		for range 2 {
			event := must(subscriber.TryRecv())(t)
			if got := event.Attributes(); got != sent || event.TypeID() != 4711 || event.Has() != sent.Has {
				t.Errorf("received %+v, sent %+v", got, sent)
			}
		}
		must(publisher.TryPublish([]byte("plain")))(t)
		event := must(subscriber.TryRecv())(t)
		if got := event.Attributes(); got != (railbus.Attributes{}) {
			t.Errorf("a plain event has %+v", got)
		}
	})
}

func TestStampedEventsSayWhen(t *testing.T) {
	publisher, subscriber := pair(t, railbus.ChannelOptions{Kind: railbus.Topic, Stamp: true},
		railbus.SubscriberOptions{})
	before := uint64(time.Now().UnixNano())
	must(publisher.TryPublish([]byte("a")))(t)
	must(publisher.TryPublish([]byte("b")))(t)
	after := uint64(time.Now().UnixNano())
	event := must(subscriber.TryRecv())(t)
	one := event.Attributes().PublishedNS
	buffer := railbus.Buffer{Payloads: make([]byte, 1), Stride: 1, PublishedNS: make([]uint64, 1), TypeIDs: make([]uint16, 1)}
	must(subscriber.TryRecvInto(&buffer))(t)
	// A channel's clock is CLOCK_REALTIME, which a test machine may set; these are the same clock, read in
	// this order.
	if one < before || buffer.PublishedNS[0] < one || after < buffer.PublishedNS[0] {
		t.Errorf("between %d and %d, stamped %d and %d", before, after, one, buffer.PublishedNS[0])
	}
}

func TestIntoRefusesWhatDoesNotFit(t *testing.T) {
	publisher, subscriber := pair(t, broadcasts[0], railbus.SubscriberOptions{})
	for _, payload := range []string{"12345678", "123456789", "12345678"} {
		must(publisher.TryPublish([]byte(payload)))(t)
	}
	buffer := railbus.Buffer{Payloads: make([]byte, 80), Stride: 8}
	if count := must(subscriber.TryRecvInto(&buffer))(t); count != 1 {
		t.Errorf("%d events of 8 bytes before one of 9", count)
	}
	if _, err := subscriber.TryRecvInto(&buffer); !errors.Is(err, railbus.ErrWrongLength) {
		t.Errorf("9 bytes into 8: %v", err)
	}
	if event := must(subscriber.TryRecv())(t); string(event.Payload()) != "123456789" {
		t.Errorf("what did not fit is %q", event.Payload())
	}
	if count := must(subscriber.TryRecvInto(&buffer))(t); count != 1 {
		t.Errorf("%d events behind it", count)
	}
	for _, wrong := range []railbus.Buffer{
		{}, {Payloads: make([]byte, 7), Stride: 8}, {Payloads: make([]byte, 8), Stride: -8},
		{Payloads: make([]byte, 8), Stride: 8, Lengths: []uint32{}},
	} {
		if _, err := subscriber.TryRecvInto(&wrong); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("into %+v: %v", wrong, err)
		}
	}
	if _, err := subscriber.TryRecvBatch(nil); !errors.Is(err, railbus.ErrInvalid) {
		t.Errorf("a batch of none: %v", err)
	}
	for name, publish := range map[string]func() (int, error){
		"no stride":        func() (int, error) { return publisher.TryPublishStrided(make([]byte, 8), 0, nil) },
		"a part of one":    func() (int, error) { return publisher.TryPublishStrided(make([]byte, 9), 8, nil) },
		"too many lengths": func() (int, error) { return publisher.TryPublishStrided(make([]byte, 8), 8, []uint32{8, 8}) },
		"too long one":     func() (int, error) { return publisher.TryPublishStrided(make([]byte, 8), 8, []uint32{9}) },
	} {
		if _, err := publish(); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLossIsTold(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{Lossy: true, UntilClosed: true})
		const events = 20000
		for i := range uint64(events) {
			must(publisher.TryPublish(binary.LittleEndian.AppendUint64(nil, i)))(t)
		}
		check(t, publisher.Close())
		next, lost := uint64(0), uint64(0)
		for event, err := range subscriber.Events(soon(t)) {
			var failure *railbus.Error
			if errors.Is(err, railbus.ErrLost) && errors.As(err, &failure) {
				if failure.Lost.Events == 0 || failure.Lost.To <= failure.Lost.From {
					t.Fatalf("lost %+v", failure.Lost)
				}
				lost += failure.Lost.Events
				next += failure.Lost.Events
				continue
			}
			check(t, err)
			if found := binary.LittleEndian.Uint64(event.Payload()); found != next {
				t.Fatalf("event %d, wanted %d", found, next)
			}
			next++
		}
		if lost == 0 || next != events {
			t.Errorf("lost %d, and ended before event %d", lost, next)
		}
		if stats := must(subscriber.Stats())(t); stats.Lost != lost || stats.Events != events-lost {
			t.Errorf("lost %d, and the stats are %+v", lost, stats)
		}
	})
}

func TestClaims(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		publisher, subscriber := pair(t, options, railbus.SubscriberOptions{})
		first := must(publisher.TryClaim(16))(t)
		if len(first.Payload()) != 16 {
			t.Errorf("claimed %d bytes", len(first.Payload()))
		}
		wantClaim := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, railbus.ErrClaim) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := publisher.TryPublish([]byte("x"))
		wantClaim("publishing while claimed", err)
		_, err = publisher.TryClaim(1)
		wantClaim("claiming while claimed", err)
		if _, err := first.Commit(17); !errors.Is(err, railbus.ErrTooLong) {
			t.Errorf("17 bytes of 16: %v", err)
		}
		if _, err := first.Commit(-1); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("-1 bytes: %v", err)
		}
		check(t, first.Abort())
		wantClaim("aborted twice", first.Abort())
		second := must(publisher.TryClaim(8))(t)
		copy(second.Payload(), "12345678")
		_, err = first.Commit(8)
		wantClaim("an aborted claim committed while another is open", err)
		must(second.Commit(5))(t)
		wantClaim("aborted after commit", second.Abort())
		if event := must(subscriber.TryRecv())(t); string(event.Payload()) != "12345" {
			t.Errorf("received %q", event.Payload())
		}
		third := must(publisher.TryClaim(8))(t)
		check(t, publisher.Close())
		if _, err := third.Commit(8); !errors.Is(err, railbus.ErrClosed) {
			t.Errorf("committed after Close: %v", err)
		}
		if _, err := publisher.TryClaim(-1); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("a claim of -1 bytes: %v", err)
		}
	})
}

func TestWhatIsPublishedNeedNotStay(t *testing.T) {
	// The library copies before it returns: payloads on the stack, which moves, and garbage are fine.
	publisher, subscriber := pair(t, broadcasts[0], railbus.SubscriberOptions{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	for i := range 2000 {
		publishDeep(t, publisher, i, i%40)
		event := must(subscriber.TryRecv())(t)
		if found := binary.LittleEndian.Uint64(event.Payload()); found != uint64(i) || event.Len() != 64 {
			t.Fatalf("event %d is %d", i, found)
		}
	}
	close(stop)
	<-stopped
}

//go:noinline
func publishDeep(t testing.TB, publisher *railbus.Publisher, i, depth int) {
	var payload [64]byte
	if depth > 0 {
		publishDeep(t, publisher, i, depth-1)
		return
	}
	binary.LittleEndian.PutUint64(payload[:], uint64(i))
	must(publisher.Publish(background, payload[:]))(t)
}

func TestStartsAndDurableSubscriptions(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		channel := newChannel(t, options)
		publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
		defer publisher.Close()
		var positions []uint64
		for i := range 5 {
			positions = append(positions, must(publisher.TryPublish(text(i)))(t))
		}
		for _, start := range []struct {
			at    railbus.Start
			first int
		}{
			{railbus.Oldest, 0}, {railbus.At(positions[3]), 3}, {railbus.At(positions[0]), 0},
			{railbus.Last(1), 4}, {railbus.Last(3), 2}, {railbus.Last(9), 0},
		} {
			subscriber := must(channel.Subscriber(railbus.SubscriberOptions{Start: start.at}))(t)
			event := must(subscriber.TryRecv())(t)
			wantText(t, event, start.first)
			check(t, subscriber.Close())
		}
		durable := railbus.SubscriberOptions{Name: "durable", Durable: true, Start: railbus.Oldest}
		subscriber := must(channel.Subscriber(durable))(t)
		for i := range 2 {
			wantText(t, must(subscriber.TryRecv())(t), i)
		}
		check(t, subscriber.Release())
		check(t, subscriber.Close())
		subscriber = must(channel.Subscriber(durable))(t)
		defer subscriber.Close()
		wantText(t, must(subscriber.TryRecv())(t), 2)
	})
}

func TestNumberedEvents(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		channel := newChannel(t, options)
		subscriber := must(channel.Subscriber(railbus.SubscriberOptions{}))(t)
		defer subscriber.Close()
		numbered := railbus.SenderOptions{Name: "source", Sequenced: true}
		var found []uint64
		for round := range uint64(2) {
			publisher := must(channel.Publisher(numbered))(t)
			if stats := must(publisher.Stats())(t); stats.ResumePoint != round*3 {
				t.Errorf("round %d resumes behind %d", round, stats.ResumePoint)
			}
			for number := uint64(1); number <= 3+round; number++ {
				_, err := publisher.PublishNumbered(background, number, text(int(number)), railbus.Attributes{TypeID: 3})
				if number <= round*3 && !errors.Is(err, railbus.ErrPublishedBefore) {
					t.Errorf("event %d again: %v", number, err)
				} else if number > round*3 {
					check(t, err)
				}
			}
			check(t, publisher.Close())
		}
		for range 4 {
			event := must(subscriber.TryRecv())(t)
			attributes := event.Attributes()
			if attributes.Has&railbus.HasSequence == 0 || attributes.TypeID != 3 {
				t.Errorf("the event has %+v", attributes)
			}
			wantText(t, event, int(attributes.Sequence.Number))
			found = append(found, attributes.Sequence.Number)
		}
		if !slices.Equal(found, []uint64{1, 2, 3, 4}) {
			t.Errorf("the events have the numbers %v", found)
		}
		plain := must(channel.Publisher(railbus.SenderOptions{Name: "plain"}))(t)
		defer plain.Close()
		if _, err := plain.PublishNumbered(background, 1, nil, railbus.Attributes{}); !errors.Is(err, railbus.ErrNotSequenced) {
			t.Errorf("numbered by a publisher that does not: %v", err)
		}
		if stats := must(plain.Stats())(t); stats.ResumePoint != railbus.None {
			t.Errorf("a plain publisher resumes at %d", stats.ResumePoint)
		}
	})
}
