package main

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"railbus"
)

// patience is the length of every wait without another limit.
const patience = 20 * time.Second

// soon runs a call with a context that ends when it has waited long enough.
func soon[T any](call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return call(ctx)
}

// symbol is the name of an error in railbus.h.
func symbol(err error) string {
	var code railbus.Code
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &code):
		return code.String()
	case errors.Is(err, context.DeadlineExceeded):
		return "TIMED_OUT"
	}
	return "IO"
}

// place is the common part of most roles.
type place struct {
	bus     *railbus.Bus
	channel *railbus.Channel
}

func attach(given arguments) (place, error) {
	bus, err := railbus.Open(given["bus"])
	if err != nil {
		return place{}, err
	}
	channel, err := bus.Attach(given["channel"])
	return place{bus, channel}, err
}

// attachAwaited does the same, and waits for a channel that does not exist if it is to.
func attachAwaited(given arguments) (place, error) {
	limit := given.number("await_ms", 0)
	if limit == 0 {
		return attach(given)
	}
	say("waiting")
	bus, err := railbus.Open(given["bus"])
	if err != nil {
		return place{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(limit)*time.Millisecond)
	defer cancel()
	channel, err := bus.AttachWait(ctx, given["channel"])
	return place{bus, channel}, err
}

// leave closes, in order, the given handles and then the place.
func (place place) leave(closers ...func() error) error {
	for _, closeIt := range append(closers, place.channel.Close, place.bus.Close) {
		if err := closeIt(); err != nil {
			return err
		}
	}
	return nil
}

// sender is the common part of a publisher and a producer.
type sender interface {
	Publish(context.Context, []byte) (uint64, error)
	PublishWith(context.Context, []byte, railbus.Attributes) (uint64, error)
	PublishBatch(context.Context, [][]byte) (int, error)
	PublishStrided(context.Context, []byte, int, []uint32) (int, error)
	Claim(context.Context, int) (railbus.Claim, error)
	TryPublish([]byte) (uint64, error)
	TryClaim(int) (railbus.Claim, error)
	Close() error
}

func openSender(channel *railbus.Channel) (sender, error) {
	if channel.Header().Kind == railbus.Queue {
		return channel.Producer(railbus.SenderOptions{})
	}
	return channel.Publisher(railbus.SenderOptions{})
}

func openReader(channel *railbus.Channel, options railbus.SubscriberOptions) (*railbus.Subscriber, error) {
	if channel.Header().Kind == railbus.Queue {
		return channel.Tap(options)
	}
	return channel.Subscriber(options)
}

// fill writes the payload of event i.
func fill(payload []byte, i, seed uint64) {
	for j := range payload {
		payload[j] = byte(131*i + 7*uint64(j) + uint64(j>>8) + 17*seed)
	}
}

// attributesOf returns the attributes of event i in mode attributes.
func attributesOf(i uint64) railbus.Attributes {
	attributes := railbus.Attributes{
		TypeID:      uint16(i),
		Has:         railbus.HasTime | railbus.HasTrace,
		PublishedNS: 1000000007*i + 1,
	}
	for k := range attributes.Trace.TraceID {
		attributes.Trace.TraceID[k] = byte(i + uint64(k))
	}
	for k := range attributes.Trace.SpanID {
		attributes.Trace.SpanID[k] = byte(i + 100 + uint64(k))
	}
	attributes.Trace.Flags = uint8(i % 2)
	return attributes
}

// tally counts the events of a role.
type tally struct {
	events, first, last, lost, sum uint64
	digest                         uint32
}

func (tally *tally) count(payload []byte, position uint64, attributes *railbus.Attributes) {
	record := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	record = append(record, payload...)
	if attributes != nil {
		record = binary.LittleEndian.AppendUint16(record, attributes.TypeID)
		record = binary.LittleEndian.AppendUint64(record, attributes.PublishedNS)
		record = append(record, attributes.Trace.TraceID[:]...)
		record = append(record, attributes.Trace.SpanID[:]...)
		record = append(record, attributes.Trace.Flags)
	}
	if tally.events == 0 {
		tally.first = position
	}
	tally.events++
	tally.last = position
	tally.sum += uint64(crc32.ChecksumIEEE(record))
	tally.digest = crc32.Update(tally.digest, crc32.IEEETable, record)
}

// event counts an event, with its attributes if they are wanted.
func (tally *tally) event(event railbus.Event, attributed bool) {
	if !attributed {
		tally.count(event.Payload(), event.Position(), nil)
		return
	}
	attributes := event.Attributes()
	tally.count(event.Payload(), event.Position(), &attributes)
}
