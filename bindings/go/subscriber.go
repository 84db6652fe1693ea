package railbus

// Receiving without taking: a subscriber of a stream or topic, a tap of a queue.

/*
#include "shim.h"

#cgo noescape railbus_go_receive
#cgo nocallback railbus_go_receive
#cgo noescape railbus_go_receive_batch
#cgo nocallback railbus_go_receive_batch
#cgo noescape railbus_go_receive_into
#cgo nocallback railbus_go_receive_into
*/
import "C"

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"time"
	"unsafe"
)

// Start says where a subscriber starts. A durable subscription that exists resumes instead.
type Start struct {
	from  uint32
	value uint64
}

var (
	// Live starts after everything published so far. It is the zero value.
	Live = Start{C.RAILBUS_START_LIVE, 0}
	// Oldest starts at the oldest event that is retained; in the journal, for a subscriber that follows it.
	Oldest = Start{C.RAILBUS_START_OLDEST, 0}
)

// At starts at a position, which must be retained and the start of an event.
func At(position uint64) Start { return Start{C.RAILBUS_START_POSITION, position} }

// Last starts at the last events that are retained: so many, or all if there are fewer. Not for a subscriber that
// follows the journal.
func Last(events uint64) Start { return Start{C.RAILBUS_START_LAST, events} }

// Since starts at the first event recorded at a time or later, for a subscriber that follows the journal.
func Since(when time.Time) Start { return Start{C.RAILBUS_START_TIME, uint64(max(when.UnixNano(), 0))} }

// Follow says whether a subscriber begins in the channel's journal.
type Follow uint32

// The ways to follow a journal.
const (
	// FollowNot does not read the journal.
	FollowNot Follow = C.RAILBUS_FOLLOW_NOT
	// FollowHold begins in the journal and goes on into the ring, without a gap and without a duplicate. In
	// the ring it holds publishers back like any subscriber that is not lossy.
	FollowHold Follow = C.RAILBUS_FOLLOW_HOLD
	// FollowReadJournal does so too, and never holds a publisher back: if it is overrun in the ring, it goes
	// on in the journal. Not for durable subscribers, and not for queues.
	FollowReadJournal Follow = C.RAILBUS_FOLLOW_READ_JOURNAL
)

// SubscriberOptions say how a subscriber behaves. Zero is the default of everything.
type SubscriberOptions struct {
	// Name is for observers, or the identity of a durable subscription; at most 64 bytes.
	Name string
	// Wait says how to wait for events.
	Wait Wait
	// Start says where to start.
	Start Start
	// Durable makes the subscription outlive its owner. Its cursor holds events back until a subscriber
	// opens with its name again.
	Durable bool
	// Lossy never holds a publisher back. The subscriber loses events instead, and reports exactly which.
	Lossy bool
	// Manual moves the cursor by AcknowledgeTo only. Events that were received and not acknowledged stay in
	// the ring, hold publishers back, and come again when the durable name is resumed, after a kill and
	// after Close. Not with Lossy or Follow.
	Manual bool
	// UntilClosed ends receiving with [ErrEnded] when the last publisher has left and everything was read.
	UntilClosed bool
	// Follow begins in the channel's journal, wherever that is. Then Start may be any position that is in
	// the journal. Such a subscriber returns one event at a time. While it waits in the journal, it looks
	// again every half millisecond. A bridge cannot be armed with it. [ErrPeerGone] says that the next event
	// is in neither the ring nor the journal and the journaller is dead, or, on opening, that nothing has
	// ever recorded this channel.
	Follow Follow
}

// SubscriberStats are the counts of a subscriber.
type SubscriberStats struct {
	// Events is how many events it received, and Lost how many it lost to overrun.
	Events, Lost uint64
	// Position is that of the next event.
	Position uint64
	// Acknowledged is the position of the cursor: everything before it was acknowledged. [None] for a
	// subscriber that follows the journal.
	Acknowledged uint64
}

// Subscriber receives events. An event that it returns lies in shared memory, and may be used until the
// next call on the subscriber that receives, releases or closes. So it is for one goroutine; the others
// may call Close and Stats.
type Subscriber struct {
	gate
	handle *C.railbus_reader
}

// Subscriber opens a subscriber of the channel, which must be a stream or topic. [ErrBusy] says that the
// durable name is in use or no registry entry is free.
func (channel *Channel) Subscriber(options SubscriberOptions) (*Subscriber, error) {
	if channel.header.Kind == Queue {
		return nil, invalid("%s/%s is a queue: open a Worker of it, or a Tap to look on", channel.header.Bus,
			channel.header.Name)
	}
	return channel.reader(&options)
}

// Tap opens a subscriber of a queue that sees every event and takes none.
func (channel *Channel) Tap(options SubscriberOptions) (*Subscriber, error) {
	if channel.header.Kind != Queue {
		return nil, invalid("%s/%s is a %v: open a Subscriber of it", channel.header.Bus, channel.header.Name,
			channel.header.Kind)
	}
	return channel.reader(&options)
}

func (channel *Channel) reader(options *SubscriberOptions) (*Subscriber, error) {
	spinNS, err := options.Wait.spinNS()
	if err != nil {
		return nil, err
	}
	var flags C.uint32_t
	if options.Durable {
		flags |= C.RAILBUS_DURABLE
	}
	if options.Lossy {
		flags |= C.RAILBUS_LOSSY
	}
	if options.Manual {
		flags |= C.RAILBUS_MANUAL
	}
	if options.UntilClosed {
		flags |= C.RAILBUS_UNTIL_CLOSED
	}
	name, bytes := text(options.Name)
	subscriber := new(Subscriber)
	err = channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		wait, start := C.uint32_t(options.Wait.Mode), C.uint32_t(options.Start.from)
		var position, since C.uint64_t
		if options.Start.from == C.RAILBUS_START_TIME {
			since = C.uint64_t(options.Start.value)
		} else {
			position = C.uint64_t(options.Start.value)
		}
		return C.railbus_go_reader_open(handle, flags, name, bytes, wait, spinNS, start, position, since,
			C.uint32_t(options.Follow), &subscriber.handle, told)
	})
	if err != nil {
		return nil, err
	}
	closeIt := func(handle *C.railbus_reader) { C.railbus_reader_close(handle, nil) }
	subscriber.opened("subscriber", runtime.AddCleanup(subscriber, closeIt, subscriber.handle))
	return subscriber, nil
}

// Close closes the subscriber. The events that it returned must not be used any more, and everything
// received is acknowledged. Another goroutine that waits for events gets [ErrClosed] within some 50 ms. A
// second Close returns ErrClosed.
func (subscriber *Subscriber) Close() error {
	return subscriber.close(func() C.int32_t {
		handle := subscriber.handle
		subscriber.handle = nil
		return C.railbus_reader_close(handle, &subscriber.told)
	})
}

// Recv receives the next event, in place. It waits for it; when ctx is done, it returns the context's
// error.
//
// [ErrLost] reports events that a lossy subscriber lost, and [ErrEnded] the end, for one opened with
// UntilClosed. [ErrEvicted] says that it held others up for too long.
func (subscriber *Subscriber) Recv(ctx context.Context) (Event, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return Event{}, err
	}
	for {
		var event [1]Event
		subscriber.mutex.Lock()
		result := C.railbus_go_receive(subscriber.handle, limit, words(event[:]), &subscriber.told)
		if result == C.RAILBUS_OK {
			subscriber.mutex.Unlock()
			return event[0], nil
		}
		if limit, err = subscriber.next(ctx, result); err != nil {
			return Event{}, err
		}
	}
}

// TryRecv does as Recv without ever waiting: [ErrEmpty] says that there is no event now.
func (subscriber *Subscriber) TryRecv() (Event, error) {
	var event [1]Event
	subscriber.mutex.Lock()
	result := C.railbus_go_receive(subscriber.handle, 0, words(event[:]), &subscriber.told)
	var err error
	if result != C.RAILBUS_OK {
		err = subscriber.failure(result)
	}
	subscriber.mutex.Unlock()
	return event[0], err
}

// RecvBatch receives up to len(events) events that are there, in place, and returns how many. It waits
// for the first one, as Recv does. All of them may be used until the next call that receives, releases or
// closes. Until then a publisher has to wait if the ring is full. A lossy subscriber, which reads copies,
// gets one at a time.
func (subscriber *Subscriber) RecvBatch(ctx context.Context, events []Event) (int, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		subscriber.mutex.Lock()
		answer := C.railbus_go_receive_batch(subscriber.handle, words(events), C.size_t(len(events)), limit,
			&subscriber.told)
		if answer.result == C.RAILBUS_OK {
			subscriber.mutex.Unlock()
			return int(answer.value), nil
		}
		if limit, err = subscriber.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryRecvBatch does as RecvBatch without ever waiting: [ErrEmpty] says that there is no event now.
func (subscriber *Subscriber) TryRecvBatch(events []Event) (int, error) {
	subscriber.mutex.Lock()
	answer := C.railbus_go_receive_batch(subscriber.handle, words(events), C.size_t(len(events)), 0, &subscriber.told)
	var err error
	if answer.result != C.RAILBUS_OK {
		err = subscriber.failure(answer.result)
	}
	subscriber.mutex.Unlock()
	return int(answer.value), err
}

// Buffer has the arrays to which RecvInto copies events. It belongs to the caller throughout.
type Buffer struct {
	// Payloads takes payload i at Payloads[i*Stride:].
	Payloads []byte
	// Stride is the largest payload that fits, and the distance between two payloads.
	Stride int
	// Lengths takes the bytes of each payload. If nil, every payload must have exactly Stride bytes.
	Lengths []uint32
	// Positions takes the position of each event, if not nil.
	Positions []uint64
	// TypeIDs takes the type id of each event, if not nil.
	TypeIDs []uint16
	// PublishedNS takes the time at which each event was published, in ns since 1970, 0 if it carries none;
	// if not nil.
	PublishedNS []uint64
}

// Payload returns the payload of event i.
func (buffer *Buffer) Payload(i int) []byte {
	bytes := buffer.Stride
	if buffer.Lengths != nil {
		bytes = int(buffer.Lengths[i])
	}
	return buffer.Payloads[i*buffer.Stride:][:bytes:bytes]
}

// room returns the number of events that there is room for: in Payloads, and in each of the others that
// is there.
func (buffer *Buffer) room() (int, error) {
	if buffer.Stride <= 0 {
		return 0, invalid("a stride of %d bytes: must be positive", buffer.Stride)
	}
	room := len(buffer.Payloads) / buffer.Stride
	if buffer.Lengths != nil {
		room = min(room, len(buffer.Lengths))
	}
	if buffer.Positions != nil {
		room = min(room, len(buffer.Positions))
	}
	if buffer.TypeIDs != nil {
		room = min(room, len(buffer.TypeIDs))
	}
	if buffer.PublishedNS != nil {
		room = min(room, len(buffer.PublishedNS))
	}
	if room == 0 {
		return 0, invalid("a buffer without room for an event of %d bytes", buffer.Stride)
	}
	return room, nil
}

// RecvInto copies events that are there to the buffer, as many as there is room for, releases them, and
// returns how many. It waits for the first one, as Recv does. The buffer's slices are not made longer or
// shorter.
//
// An event that does not fit ends the call. The next call then returns [ErrWrongLength], unless it is
// Recv or RecvBatch, which return the event.
func (subscriber *Subscriber) RecvInto(ctx context.Context, to *Buffer) (int, error) {
	room, err := to.room()
	if err != nil {
		return 0, err
	}
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		subscriber.mutex.Lock()
		answer := subscriber.receiveInto(to, room, limit)
		if answer.result == C.RAILBUS_OK {
			subscriber.mutex.Unlock()
			return int(answer.value), nil
		}
		if limit, err = subscriber.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryRecvInto does as RecvInto without ever waiting: [ErrEmpty] says that there is no event now.
func (subscriber *Subscriber) TryRecvInto(to *Buffer) (int, error) {
	room, err := to.room()
	if err != nil {
		return 0, err
	}
	subscriber.mutex.Lock()
	answer := subscriber.receiveInto(to, room, 0)
	if answer.result != C.RAILBUS_OK {
		err = subscriber.failure(answer.result)
	}
	subscriber.mutex.Unlock()
	return int(answer.value), err
}

func (subscriber *Subscriber) receiveInto(to *Buffer, room int, limit C.uint64_t) C.railbus_go_answer {
	return C.railbus_go_receive_into(subscriber.handle, bytesOf(to.Payloads), C.size_t(to.Stride), C.size_t(room),
		(*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(to.Lengths))),
		(*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(to.Positions))),
		(*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(to.TypeIDs))),
		(*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(to.PublishedNS))),
		limit, &subscriber.told)
}

// Events iterates over the events as they come, each to be used in the body of the loop only, until ctx
// is done or the channel has ended (with UntilClosed):
//
//	for event, err := range subscriber.Events(ctx) {
//		if err != nil { ... }
//		use(event.Payload())
//	}
//
// An error comes with an Event without a payload. After [ErrLost] the loop goes on with the event after
// the gap. Any other error, including that of ctx, is the last thing that it gets. At [ErrEnded] it just
// ends.
func (subscriber *Subscriber) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := subscriber.Recv(ctx)
			if errors.Is(err, ErrEnded) {
				return
			}
			if !yield(event, err) || (err != nil && !errors.Is(err, ErrLost)) {
				return
			}
		}
	}
}

// Batches iterates as Events does, over batches of up to most events: one call into the library each. The
// slice is used again for the next batch.
func (subscriber *Subscriber) Batches(ctx context.Context, most int) iter.Seq2[[]Event, error] {
	return func(yield func([]Event, error) bool) {
		if most <= 0 {
			yield(nil, invalid("batches of %d events: must be positive", most))
			return
		}
		events := make([]Event, most)
		for {
			count, err := subscriber.RecvBatch(ctx, events)
			if errors.Is(err, ErrEnded) {
				return
			}
			if !yield(events[:count], err) || (err != nil && !errors.Is(err, ErrLost)) {
				return
			}
		}
	}
}

// AcknowledgeTo acknowledges everything before position, for a subscriber opened with Manual. A durable
// subscription resumes exactly there, whatever happens to this process next, and a publisher that waits
// for the room is woken. It never waits. The events before position must not be used any more.
//
// The position is that of the first event that is not done: an [Event]'s, or that of Stats when
// everything received is done. The same position again, or a lower one, changes nothing. [ErrInvalid]
// says that it lies beyond what was received, that no event starts there, or that the subscriber was not
// opened with Manual. Then nothing is acknowledged.
func (subscriber *Subscriber) AcknowledgeTo(position uint64) error {
	subscriber.mutex.Lock()
	defer subscriber.mutex.Unlock()
	return subscriber.failure(C.railbus_acknowledge_to(subscriber.handle, C.uint64_t(position), &subscriber.told))
}

// Release releases every event that the subscriber has returned, and publishes its cursor at once. A
// durable subscription resumes after them. The events must not be used any more. With Manual the cursor
// stays: see AcknowledgeTo.
func (subscriber *Subscriber) Release() error {
	subscriber.mutex.Lock()
	defer subscriber.mutex.Unlock()
	return subscriber.failure(C.railbus_release(subscriber.handle, &subscriber.told))
}

// Stats returns the counts of this subscriber. It releases nothing.
func (subscriber *Subscriber) Stats() (SubscriberStats, error) {
	subscriber.mutex.Lock()
	defer subscriber.mutex.Unlock()
	stats := C.railbus_reader_stats{struct_size: C.sizeof_railbus_reader_stats}
	err := subscriber.failure(C.railbus_reader_statistics(subscriber.handle, &stats, &subscriber.told))
	return SubscriberStats{
		uint64(stats.events), uint64(stats.lost), uint64(stats.position), uint64(stats.acknowledged),
	}, err
}
