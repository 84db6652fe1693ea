package railbus

// Publishing: the common part of a publisher of a stream or topic and a producer of a queue.

/*
#include "shim.h"

#cgo noescape railbus_go_publish
#cgo nocallback railbus_go_publish
#cgo noescape railbus_go_publish_with
#cgo nocallback railbus_go_publish_with
#cgo noescape railbus_go_publish_numbered
#cgo nocallback railbus_go_publish_numbered
#cgo noescape railbus_go_publish_strided
#cgo nocallback railbus_go_publish_strided
*/
import "C"

import (
	"context"
	"runtime"
	"unsafe"
)

// SenderOptions say how a publisher or producer behaves. Zero is the default of everything.
type SenderOptions struct {
	// Name is for observers, at most 64 bytes.
	Name string
	// Wait says how to wait for room.
	Wait Wait
	// EvictStuck evicts a live reader that has held this sender back, without moving, for longer than the
	// channel's StuckAfter. Durable subscriptions are never evicted. Needs the rights of a consumer.
	EvictStuck bool
	// Sequenced makes this a publisher that numbers its events itself, with PublishNumbered, under Name. It
	// must have a name, and no other live publisher may have the same.
	Sequenced bool
}

// SenderStats are the counts of a publisher or producer.
type SenderStats struct {
	// Events is how many events it published, and Dropped how many it dropped because the channel was full.
	Events, Dropped uint64
	// Diverted is how many events went to the channel that this one diverts to.
	Diverted uint64
	// UnderPressure is true from when the channel's depth reaches the high watermark until it is down to the
	// low one.
	UnderPressure bool
	// Refusal says why there was no room, the last time that there was none: which participant was in the
	// way, and how far behind it is now. Empty if there always was room.
	Refusal string
	// ResumePoint, of a sequenced one, is the number of the last event that the channel has of its name, 0
	// if none. A publisher that was killed goes on after it. Otherwise it is [None].
	ResumePoint uint64
}

// sender is the common part of Publisher and Producer. Its methods are theirs.
type sender struct {
	gate
	handle *C.railbus_sender
	// Largest payload, and whether events that find no room are dropped, or diverted.
	payloadMax int
	drops      bool
	diverts    bool
	// Counts claims, so that an ended claim is distinguished from the open one.
	claims  uint64
	claimed bool
	batch   *batchMemory
}

// Publisher publishes to a stream or topic. It may be used by several goroutines: they take turns, and
// the one that waits for room lets others try every 50 ms. One goroutine is fastest.
type Publisher struct{ sender }

// Producer produces into a queue. It may be used by several goroutines, as a [Publisher].
type Producer struct{ sender }

// Publisher opens a publisher of the channel, which must be a stream or topic. A stream's publisher goes
// on where the last one left or died. [ErrBusy] says that a stream has another live one, or that every
// registry entry is taken.
func (channel *Channel) Publisher(options SenderOptions) (*Publisher, error) {
	if channel.header.Kind == Queue {
		return nil, invalid("%s/%s is a queue: open a Producer of it", channel.header.Bus, channel.header.Name)
	}
	publisher := new(Publisher)
	if err := publisher.open(channel, &options); err != nil {
		return nil, err
	}
	publisher.opened("publisher", runtime.AddCleanup(publisher, closeSender, publisher.resources()))
	return publisher, nil
}

// Producer opens a producer of the channel, which must be a queue. [ErrBusy] says that every registry
// entry is taken.
func (channel *Channel) Producer(options SenderOptions) (*Producer, error) {
	if channel.header.Kind != Queue {
		return nil, invalid("%s/%s is a %v: open a Publisher of it", channel.header.Bus, channel.header.Name,
			channel.header.Kind)
	}
	producer := new(Producer)
	if err := producer.open(channel, &options); err != nil {
		return nil, err
	}
	producer.opened("producer", runtime.AddCleanup(producer, closeSender, producer.resources()))
	return producer, nil
}

func (sender *sender) open(channel *Channel, options *SenderOptions) error {
	spinNS, err := options.Wait.spinNS()
	if err != nil {
		return err
	}
	var flags C.uint32_t
	if options.EvictStuck {
		flags |= C.RAILBUS_EVICT_STUCK
	}
	if options.Sequenced {
		flags |= C.RAILBUS_SEQUENCED
	}
	name, bytes := text(options.Name)
	sender.payloadMax = channel.header.PayloadMax
	sender.drops = channel.header.Overflow == OverflowDropNewest
	sender.diverts = channel.header.Overflow == OverflowDivert
	sender.batch = new(batchMemory)
	return channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		wait := C.uint32_t(options.Wait.Mode)
		return C.railbus_go_sender_open(handle, flags, name, bytes, wait, spinNS, &sender.handle, told)
	})
}

// senderResources is what a sender holds of C's.
type senderResources struct {
	handle *C.railbus_sender
	batch  *batchMemory
}

func (sender *sender) resources() senderResources {
	return senderResources{sender.handle, sender.batch}
}

func closeSender(resources senderResources) {
	C.railbus_sender_close(resources.handle, nil)
	resources.batch.free()
}

// Close closes the handle; an open claim is aborted. Another goroutine that waits for room gets
// [ErrClosed] within some 50 ms. A second Close returns ErrClosed.
func (sender *sender) Close() error {
	return sender.close(func() C.int32_t {
		handle := sender.handle
		sender.handle = nil
		sender.claimed = false
		sender.batch.free()
		return C.railbus_sender_close(handle, &sender.told)
	})
}

// PayloadMax returns the largest payload in bytes that the channel takes, without a trace context or
// origin.
func (sender *sender) PayloadMax() int { return sender.payloadMax }

// Publish publishes a copy of the payload and returns its position.
//
// While the channel is full it waits for room. When ctx is done, it returns the context's error, joined
// with [ErrNoWorker] if a queue has no live worker. It returns [ErrDropped] instead if the channel's
// creator chose to drop the newest event, or [ErrDiverted] if the creator chose to divert. Numbered
// events and claims are never diverted, and wait. A payload larger than PayloadMax is [ErrTooLong].
func (sender *sender) Publish(ctx context.Context, payload []byte) (position uint64, err error) {
	limit, err := sender.firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		sender.mutex.Lock()
		answer := C.railbus_go_publish(sender.handle, bytesOf(payload), C.size_t(len(payload)), limit, &sender.told)
		if answer.result == C.RAILBUS_OK {
			sender.mutex.Unlock()
			return uint64(answer.value), nil
		}
		if limit, err = sender.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryPublish does as Publish without ever waiting: [ErrFull] says that there is no room, [ErrNoWorker]
// that there is none and no live worker to make some.
func (sender *sender) TryPublish(payload []byte) (position uint64, err error) {
	sender.mutex.Lock()
	answer := C.railbus_go_publish(sender.handle, bytesOf(payload), C.size_t(len(payload)), 0, &sender.told)
	if answer.result != C.RAILBUS_OK {
		err = sender.failure(answer.result)
	}
	sender.mutex.Unlock()
	return uint64(answer.value), err
}

// PublishWith does as Publish, with a type id, trace context, time or origin.
func (sender *sender) PublishWith(ctx context.Context, payload []byte, attributes Attributes) (uint64, error) {
	given := attributes.given()
	limit, err := sender.firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		sender.mutex.Lock()
		answer := C.railbus_go_publish_with(sender.handle, bytesOf(payload), C.size_t(len(payload)), &given, limit,
			&sender.told)
		if answer.result == C.RAILBUS_OK {
			sender.mutex.Unlock()
			return uint64(answer.value), nil
		}
		if limit, err = sender.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryPublishWith does as PublishWith without ever waiting.
func (sender *sender) TryPublishWith(payload []byte, attributes Attributes) (position uint64, err error) {
	given := attributes.given()
	sender.mutex.Lock()
	answer := C.railbus_go_publish_with(sender.handle, bytesOf(payload), C.size_t(len(payload)), &given, 0,
		&sender.told)
	if answer.result != C.RAILBUS_OK {
		err = sender.failure(answer.result)
	}
	sender.mutex.Unlock()
	return uint64(answer.value), err
}

// PublishNumbered publishes event number of this publisher's name, as PublishWith does. Numbers count up
// from 1, with gaps or without.
//
// The number is kept in the channel. A publisher that is killed at any instruction can open again under
// its name and publish everything again from its resume point (see Stats), or from before it. Then no
// event is missing and none is published twice. There is one exception in a queue or topic: if the other
// producers went round the whole ring in between, the one event that was in work may come twice, with the
// same number.
//
// [ErrPublishedBefore] says that the channel has this number already, [ErrNotSequenced] that the
// publisher was not opened with Sequenced.
func (sender *sender) PublishNumbered(
	ctx context.Context, number uint64, payload []byte, attributes Attributes,
) (position uint64, err error) {
	given := attributes.given()
	limit, err := sender.firstLimitHere(ctx)
	if err != nil {
		return 0, err
	}
	for {
		sender.mutex.Lock()
		answer := C.railbus_go_publish_numbered(sender.handle, C.uint64_t(number), bytesOf(payload),
			C.size_t(len(payload)), &given, limit, &sender.told)
		if answer.result == C.RAILBUS_OK {
			sender.mutex.Unlock()
			return uint64(answer.value), nil
		}
		if limit, err = sender.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// PublishStrided publishes copies of the payloads that lie in one buffer, stride bytes apart: the fastest
// way to publish many. Payload i has lengths[i] bytes; if lengths is nil, all have stride bytes and fill
// the buffer.
//
// It waits for room for all of them, also where single events would be dropped. It returns how many were
// published, also with an error. If one is too long, none is published.
func (sender *sender) PublishStrided(
	ctx context.Context, payloads []byte, stride int, lengths []uint32,
) (published int, err error) {
	count, err := countStrided(payloads, stride, lengths)
	if err != nil || count == 0 {
		return 0, err
	}
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		sender.mutex.Lock()
		answer := sender.publishStrided(payloads, stride, lengths, published, count, limit)
		published += int(answer.value)
		if answer.result == C.RAILBUS_OK {
			sender.mutex.Unlock()
			return published, nil
		}
		if limit, err = sender.next(ctx, answer.result); err != nil {
			return published, err
		}
	}
}

// TryPublishStrided does as PublishStrided without ever waiting: it publishes the events that there is
// room for, and returns [ErrFull] if those are not all.
func (sender *sender) TryPublishStrided(payloads []byte, stride int, lengths []uint32) (published int, err error) {
	count, err := countStrided(payloads, stride, lengths)
	if err != nil || count == 0 {
		return 0, err
	}
	sender.mutex.Lock()
	answer := sender.publishStrided(payloads, stride, lengths, 0, count, 0)
	if answer.result != C.RAILBUS_OK {
		err = sender.failure(answer.result)
	}
	sender.mutex.Unlock()
	return int(answer.value), err
}

func (sender *sender) publishStrided(
	payloads []byte, stride int, lengths []uint32, from, count int, limit C.uint64_t,
) C.railbus_go_answer {
	var first *C.uint32_t
	if lengths != nil {
		first = (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(lengths[from:])))
	}
	return C.railbus_go_publish_strided(sender.handle, bytesOf(payloads[from*stride:]), C.size_t(stride), first,
		C.size_t(count-from), limit, &sender.told)
}

// countStrided is how many payloads are in a buffer.
func countStrided(payloads []byte, stride int, lengths []uint32) (int, error) {
	switch {
	case stride <= 0:
		return 0, invalid("a stride of %d bytes: must be positive", stride)
	case lengths != nil && len(lengths) > len(payloads)/stride:
		return 0, invalid("%d payloads, %d bytes apart, in a buffer of %d bytes", len(lengths), stride, len(payloads))
	case lengths != nil:
		return len(lengths), nil
	case len(payloads)%stride != 0:
		return 0, invalid("payloads of %d bytes in a buffer of %d: not a whole number", stride, len(payloads))
	}
	return len(payloads) / stride, nil
}

// firstLimit is the timeout of the first call that publishes one event.
func (sender *sender) firstLimit(ctx context.Context) (C.uint64_t, error) {
	if sender.diverts {
		// The policy of the creator, which is never to wait.
		return C.RAILBUS_FOREVER, ctx.Err()
	}
	return sender.firstLimitHere(ctx)
}

// firstLimitHere is the same for claims and numbered events, which are never diverted, but wait instead.
func (sender *sender) firstLimitHere(ctx context.Context) (C.uint64_t, error) {
	if sender.drops {
		// As above.
		return C.RAILBUS_FOREVER, ctx.Err()
	}
	return firstLimit(ctx)
}

// Readers counts the live readers (subscribers, workers, taps) that have joined: they receive every event
// published from now on. It makes one system call for each.
func (sender *sender) Readers() (int, error) {
	sender.mutex.Lock()
	defer sender.mutex.Unlock()
	var readers C.size_t
	err := sender.failure(C.railbus_sender_readers(sender.handle, &readers, &sender.told))
	return int(readers), err
}

// Stats returns the counts of this handle.
func (sender *sender) Stats() (SenderStats, error) {
	sender.mutex.Lock()
	defer sender.mutex.Unlock()
	stats := C.railbus_sender_stats{struct_size: C.sizeof_railbus_sender_stats}
	err := sender.failure(C.railbus_sender_statistics(sender.handle, &stats, &sender.told))
	return SenderStats{
		Events: uint64(stats.events), Dropped: uint64(stats.dropped), Diverted: uint64(stats.diverted),
		UnderPressure: stats.under_pressure != 0, ResumePoint: uint64(stats.resume_point),
		Refusal: C.GoString(&stats.refusal[0]),
	}, err
}

// bytesOf returns the address of a payload; NULL for none.
func bytesOf(payload []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(payload)))
}
