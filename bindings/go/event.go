package railbus

// Events as they lie in shared memory, and the attributes that travel with a payload.

/*
#include "shim.h"

#cgo noescape railbus_go_event_attributes
#cgo nocallback railbus_go_event_attributes
*/
import "C"

import "unsafe"

// Event says where an event lies in shared memory: it is a view, and holds nothing. The function that
// returned it says how long it may be used. After that its payload must not be touched any more. To keep
// a payload, copy it:
//
//	kept := bytes.Clone(event.Payload())
//
// The memory is read-only: a fault stops a program that writes to a payload. A view does not keep the
// handle that it is from alive, so keep that, too; a deferred Close does.
type Event struct {
	// As in railbus_event. The payload is a number, not a pointer, because it does not belong to the garbage
	// collector.
	payload      uintptr
	position     uint64
	payloadBytes uint32
	typeID       uint16
	flags        uint8
	attempt      uint8
}

// Has names the attributes that an event carries beside its payload.
type Has uint8

// The attributes that an event may carry.
const (
	// HasTime: the time at which it was published.
	HasTime Has = C.RAILBUS_HAS_TIME
	// HasTrace: a trace context.
	HasTrace Has = C.RAILBUS_HAS_TRACE
	// HasOrigin: its place before it became a dead letter.
	HasOrigin Has = C.RAILBUS_HAS_ORIGIN
	// HasReplayed: a mark that it was replayed from a journal.
	HasReplayed Has = C.RAILBUS_REPLAYED
	// HasSequence: the number that its publisher gave it.
	HasSequence Has = C.RAILBUS_HAS_SEQUENCE
	// HasKey: a key.
	HasKey Has = C.RAILBUS_HAS_KEY
)

// Trace is a W3C trace context.
type Trace struct {
	// TraceID identifies the trace.
	TraceID [16]byte
	// SpanID identifies the span that published.
	SpanID [8]byte
	// Flags are W3C trace flags: 1 is sampled.
	Flags uint8
}

// Origin is the place from which a dead letter comes.
type Origin struct {
	// Channel is the first 8 bytes of the queue's ChannelID, as a little-endian number.
	Channel uint64
	// Incarnation is that of the queue.
	Incarnation uint64
	// Position is the position of the event in that queue.
	Position uint64
	// Attempts is how many times it was delivered without success.
	Attempts uint64
}

// Sequence is the number of a numbered event.
type Sequence struct {
	// Publisher identifies the publisher: a hash of its name.
	Publisher uint64
	// Number is the number that the publisher gave the event.
	Number uint64
}

// Attributes travel with a payload.
type Attributes struct {
	// TypeID is for the reader's use.
	TypeID uint16
	// Has says which of the following fields count.
	Has Has
	// PublishedNS is the publish time in ns since 1970, in place of the channel's own stamp.
	PublishedNS uint64
	// Trace is the trace context.
	Trace Trace
	// Origin is the place from which a dead letter comes.
	Origin Origin
	// Sequence is read only: PublishNumbered gives numbers.
	Sequence Sequence
	// Key is the event's key: a queue made with Keyed handles events with one key one after the other, in
	// order. For a key made of bytes, use their 64-bit FNV-1a, as hash/fnv and the command line do.
	Key uint64
}

// Payload returns the bytes of the event in shared memory, aligned to 8; never nil. Do not write to them.
func (event Event) Payload() []byte {
	return unsafe.Slice((*byte)(foreign(&event.payload)), event.payloadBytes)
}

// Len returns the number of the payload's bytes.
func (event Event) Len() int { return int(event.payloadBytes) }

// Position returns the event's position in its channel: a byte offset in a stream, a ticket in a queue or
// topic. It never wraps.
func (event Event) Position() uint64 { return event.position }

// TypeID returns the type id that its publisher gave it, 0 if none.
func (event Event) TypeID() uint16 { return event.typeID }

// Attempt returns which delivery this is, counted from 1, for an event of a queue that a worker took; the
// count stops at
// 64. Otherwise it is 0.
func (event Event) Attempt() int { return int(event.attempt) }

// Has returns the attributes that the event carries beside its payload.
func (event Event) Has() Has { return Has(event.flags) }

// Attributes reads the attributes that the event carries beside its payload. It may be called as long as
// the payload may be read. Attributes that Has does not name are zero.
func (event Event) Attributes() Attributes {
	attributes := Attributes{TypeID: event.typeID, Has: Has(event.flags)}
	if event.flags == 0 {
		return attributes
	}
	var found C.railbus_attributes
	C.railbus_go_event_attributes((*C.uint64_t)(unsafe.Pointer(&event)), &found)
	attributes.PublishedNS = uint64(found.published_ns)
	attributes.Trace.TraceID = *(*[16]byte)(unsafe.Pointer(&found.trace_id))
	attributes.Trace.SpanID = *(*[8]byte)(unsafe.Pointer(&found.span_id))
	attributes.Trace.Flags = uint8(found.trace_flags)
	attributes.Origin = Origin{
		Channel:     uint64(found.origin_channel),
		Incarnation: uint64(found.origin_incarnation),
		Position:    uint64(found.origin_position),
		Attempts:    uint64(found.origin_attempts),
	}
	attributes.Sequence = Sequence{uint64(found.sequence_publisher), uint64(found.sequence_number)}
	attributes.Key = uint64(found.key)
	return attributes
}

// given is the attributes as the library takes them.
func (attributes *Attributes) given() C.railbus_attributes {
	given := C.railbus_attributes{
		struct_size:        C.sizeof_railbus_attributes,
		type_id:            C.uint16_t(attributes.TypeID),
		flags:              C.uint8_t(attributes.Has),
		trace_flags:        C.uint8_t(attributes.Trace.Flags),
		published_ns:       C.uint64_t(attributes.PublishedNS),
		origin_channel:     C.uint64_t(attributes.Origin.Channel),
		origin_incarnation: C.uint64_t(attributes.Origin.Incarnation),
		origin_position:    C.uint64_t(attributes.Origin.Position),
		origin_attempts:    C.uint64_t(attributes.Origin.Attempts),
		key:                C.uint64_t(attributes.Key),
	}
	*(*[16]byte)(unsafe.Pointer(&given.trace_id)) = attributes.Trace.TraceID
	*(*[8]byte)(unsafe.Pointer(&given.span_id)) = attributes.Trace.SpanID
	return given
}

// foreign is the pointer that a word holds. It points to no memory of Go, so the usual dangers of such
// conversions do not apply: the garbage collector neither moves nor frees that memory.
func foreign(word *uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(word)) }

// words is an array of events or jobs as the shim takes it.
func words[T Event | Job](places []T) *C.uint64_t {
	return (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(places)))
}

// The library writes to Event and Job: they have its layout, or this does not compile.
const (
	_ uintptr = -(unsafe.Sizeof(Event{}) ^ C.sizeof_railbus_event)
	_ uintptr = -(unsafe.Offsetof(Event{}.payload) ^ unsafe.Offsetof(C.railbus_event{}.payload))
	_ uintptr = -(unsafe.Offsetof(Event{}.position) ^ unsafe.Offsetof(C.railbus_event{}.position))
	_ uintptr = -(unsafe.Offsetof(Event{}.payloadBytes) ^ unsafe.Offsetof(C.railbus_event{}.payload_bytes))
	_ uintptr = -(unsafe.Offsetof(Event{}.typeID) ^ unsafe.Offsetof(C.railbus_event{}.type_id))
	_ uintptr = -(unsafe.Offsetof(Event{}.flags) ^ unsafe.Offsetof(C.railbus_event{}.flags))
	_ uintptr = -(unsafe.Offsetof(Event{}.attempt) ^ unsafe.Offsetof(C.railbus_event{}.attempt))
	_ uintptr = -(unsafe.Sizeof(Job{}) ^ C.sizeof_railbus_job)
	_ uintptr = -(unsafe.Offsetof(Job{}.token) ^ unsafe.Offsetof(C.railbus_job{}.token))
)
