package railbus

// Channels: the options of a new one, the header of an open one, and the handles that are opened from it.

/*
#include "shim.h"
*/
import "C"

import (
	"runtime"
	"sync"
	"time"
)

// Kind says how a channel delivers events.
type Kind uint32

// The kinds.
const (
	// Stream has one publisher at a time and any number of subscribers; events are of any size.
	Stream Kind = C.RAILBUS_STREAM
	// Queue has many producers and many workers; each event is handled by one worker.
	Queue Kind = C.RAILBUS_QUEUE
	// Topic has many publishers and many subscribers; every subscriber sees every event, all in one order.
	Topic Kind = C.RAILBUS_TOPIC
	// TableKind is a table: the latest value of each key; many writers and many readers.
	TableKind Kind = C.RAILBUS_TABLE
)

// String returns "stream", "queue", "topic" or "table".
func (kind Kind) String() string {
	switch kind {
	case Stream:
		return "stream"
	case Queue:
		return "queue"
	case Topic:
		return "topic"
	case TableKind:
		return "table"
	}
	return "unknown kind"
}

// Overflow is the effect of publishing when a channel is full.
type Overflow uint32

// The policies for a full channel.
const (
	// OverflowDefault is OverflowBlock.
	OverflowDefault Overflow = 0
	// OverflowBlock waits as long as the caller allows.
	OverflowBlock Overflow = C.RAILBUS_OVERFLOW_BLOCK
	// OverflowDropNewest drops the event that finds no room, counts it, and returns [ErrDropped].
	OverflowDropNewest Overflow = C.RAILBUS_OVERFLOW_DROP_NEWEST
	// OverflowDivert publishes the event that finds no room in another channel, counts it, and returns
	// [ErrDiverted]. If that channel is full as well, it drops and counts the event.
	OverflowDivert Overflow = C.RAILBUS_OVERFLOW_DIVERT
	// OverflowLossyReaders means that there is always room: the channel takes lossy readers only, which lose
	// the oldest events.
	OverflowLossyReaders Overflow = C.RAILBUS_OVERFLOW_LOSSY_READERS
)

// Pages says which memory pages a channel's data get.
type Pages uint32

// The pages.
const (
	// PagesAuto takes huge pages if the system has them, for data of at least 2 MiB.
	PagesAuto Pages = C.RAILBUS_PAGES_AUTO
	// Pages2MiB does as PagesAuto, but smaller data also get a page of hugetlbfs.
	Pages2MiB Pages = C.RAILBUS_PAGES_2MIB
	// Pages1GiB takes 1 GiB pages of hugetlbfs, or 2 MiB if there are none.
	Pages1GiB Pages = C.RAILBUS_PAGES_1GIB
	// PagesOrdinary takes ordinary pages.
	PagesOrdinary Pages = C.RAILBUS_PAGES_ORDINARY
)

// Access says who may open a channel. The zero value is the owner alone.
type Access struct {
	// RingMode is the mode of the file that producers write, at most 0666; 0 is 0600.
	RingMode uint32
	// AcksMode is the mode of the file that consumers write, at most 0666; 0 is 0600.
	AcksMode uint32
	// Owner owns both files, if not nil.
	Owner *uint32
	// RingGroup is the group of the file that producers write, if not nil.
	RingGroup *uint32
	// AcksGroup is the group of the file that consumers write, if not nil.
	AcksGroup *uint32
}

// ChannelOptions are the options of a new channel. Kind must be set; zero is the default of every other
// field.
type ChannelOptions struct {
	// Kind says how the channel delivers events.
	Kind Kind
	// CapacityBytes, of a stream: a power of two from 4 KiB to 1 TiB; 0 is 4 MiB.
	CapacityBytes uint64
	// Slots, of a queue or topic: a power of two from 64 to 2^24; 0 is 1024.
	Slots uint64
	// SlotBytes, of a queue or topic: the bytes of a slot including its header of 16 bytes, a power of two
	// from 64 to 2^20; 0 is 256.
	SlotBytes uint64
	// Keys, of a table: how many keys may have a value at once, 1 to 2^20; 0 is 1024.
	Keys uint64
	// ValueBytes, of a table: the most bytes of a value, a multiple of 8 up to 2^20; 0 is 64.
	ValueBytes uint64
	// Overflow is the effect of publishing when the channel is full.
	Overflow Overflow
	// Stamp makes events carry the time at which they were published.
	Stamp bool
	// Keyed, of a queue: events with the same key (Attributes.Key) are handled one after the other, in
	// order.
	Keyed bool
	// Journaled makes the channel with the subscription of a journaller, so that it is recorded from its
	// first event on. If no recorder or `railbus journald` runs, publishers wait when it is full.
	Journaled bool
	// ProducersMax is how many producers there may be at once, 1 to 255; 0 is 64. A stream has one.
	ProducersMax uint32
	// ConsumersMax is how many consumers there may be at once, 1 to 255; 0 is 64.
	ConsumersMax uint32
	// Pages says which memory pages the data get.
	Pages Pages
	// RequireHuge makes creation fail unless the data get huge pages.
	RequireHuge bool
	// NoMemoryLock does not lock the channel in memory, so that it may be swapped.
	NoMemoryLock bool
	// NUMANode is the NUMA node of the memory, if not nil.
	NUMANode *uint32
	// MaxAttempts, of a queue: deliveries before an event is a dead letter, at most 63; 0 is without limit.
	MaxAttempts uint32
	// DeadLetters, of a queue with MaxAttempts: the queue of the same bus that takes dead letters. Empty is
	// the queue's name followed by ".dead". It is made if it does not exist.
	DeadLetters string
	// DivertTo, with OverflowDivert: the queue or topic of the same bus that takes the events that find no
	// room. It must exist.
	DivertTo string
	// HighWatermark and LowWatermark are the percents of the capacity between which
	// [SenderStats].UnderPressure changes; 0 and 0 is never.
	HighWatermark, LowWatermark uint32
	// Credits, of a queue or topic: unfinished events that one producer may have in the ring; 0 is without
	// limit.
	Credits uint32
	// Access says who may open the channel.
	Access Access
	// StuckAfter is the time after which a participant that others wait for counts as stuck: 1 ms to 24 h; 0
	// is 1 s.
	StuckAfter time.Duration
	// FirstPosition is the position of the first event: a multiple of 8 for a stream.
	FirstPosition uint64
	// Incarnation says how many times the same identity was made, counted from 1; 0 is 1.
	Incarnation uint64
	// ChannelID is the identity of the channel that is made again; random if nil.
	ChannelID *[16]byte
}

func (options *ChannelOptions) given() (C.railbus_channel_options, error) {
	var given C.railbus_channel_options
	if options.StuckAfter < 0 {
		return given, invalid("StuckAfter %v: must not be negative", options.StuckAfter)
	}
	given.kind = C.uint32_t(options.Kind)
	given.overflow = C.uint32_t(options.Overflow)
	given.capacity_bytes = C.uint64_t(options.CapacityBytes)
	given.slots = C.uint64_t(options.Slots)
	given.slot_bytes = C.uint64_t(options.SlotBytes)
	given.keys = C.uint64_t(options.Keys)
	given.value_bytes = C.uint64_t(options.ValueBytes)
	given.producers_max = C.uint32_t(options.ProducersMax)
	given.consumers_max = C.uint32_t(options.ConsumersMax)
	given.pages = C.uint32_t(options.Pages)
	given.max_attempts = C.uint32_t(options.MaxAttempts)
	given.high_watermark = C.uint32_t(options.HighWatermark)
	given.low_watermark = C.uint32_t(options.LowWatermark)
	given.credits = C.uint32_t(options.Credits)
	given.ring_mode = C.uint32_t(options.Access.RingMode)
	given.acks_mode = C.uint32_t(options.Access.AcksMode)
	given.stuck_after_ns = C.uint64_t(options.StuckAfter)
	given.first_position = C.uint64_t(options.FirstPosition)
	given.incarnation = C.uint64_t(options.Incarnation)
	flag := func(isMeant bool, flag C.uint32_t) {
		if isMeant {
			given.flags |= flag
		}
	}
	flag(options.Stamp, C.RAILBUS_STAMP)
	flag(options.Keyed, C.RAILBUS_KEYED)
	flag(options.Journaled, C.RAILBUS_JOURNALED)
	flag(options.RequireHuge, C.RAILBUS_REQUIRE_HUGE)
	flag(options.NoMemoryLock, C.RAILBUS_NO_MEMORY_LOCK)
	number := func(number *uint32, field *C.uint32_t, meant C.uint32_t) {
		if number != nil {
			*field = C.uint32_t(*number)
			given.flags |= meant
		}
	}
	number(options.NUMANode, &given.numa_node, C.RAILBUS_ON_NUMA_NODE)
	number(options.Access.Owner, &given.owner, C.RAILBUS_WITH_OWNER)
	number(options.Access.RingGroup, &given.ring_group, C.RAILBUS_WITH_RING_GROUP)
	number(options.Access.AcksGroup, &given.acks_group, C.RAILBUS_WITH_ACKS_GROUP)
	if options.ChannelID != nil {
		for i, value := range options.ChannelID {
			given.channel_id[i] = C.uint8_t(value)
		}
		given.flags |= C.RAILBUS_WITH_CHANNEL_ID
	}
	return given, nil
}

// Header holds the options that a channel's creator chose.
type Header struct {
	// Bus and Name are the names of the channel's bus and of the channel.
	Bus, Name string
	// Kind says how the channel delivers events.
	Kind Kind
	// Overflow is the effect of publishing when the channel is full.
	Overflow Overflow
	// Stamp says whether events carry the time at which they were published.
	Stamp bool
	// Keyed says whether a queue's events with the same key are handled one after the other, in order.
	Keyed bool
	// PayloadMax is the largest payload in bytes, without a trace context or origin; the largest value of a
	// table.
	PayloadMax int
	// CapacityBytes is the bytes of event data.
	CapacityBytes uint64
	// Slots and SlotBytes are how many slots there are and how large; 0 for a stream.
	Slots, SlotBytes uint64
	// Keys is how many keys of a table may have a value at once, and ValueBytes the most bytes of a value; 0
	// for other kinds.
	Keys, ValueBytes uint64
	// PageBytes is the size of the pages behind the data, as the creator saw it, and HugePages says whether
	// they were huge.
	PageBytes uint64
	HugePages bool
	// NUMANode is the node to which the data were bound, -1 if to none.
	NUMANode int
	// ProducersMax and ConsumersMax are how many there may be at once.
	ProducersMax, ConsumersMax int
	// MaxAttempts, of a queue: deliveries before an event is a dead letter; 0 is without limit.
	MaxAttempts int
	// DeadLetters is the name of the queue that takes dead letters; empty if there is none.
	DeadLetters string
	// DivertTo is the name of the channel that takes the events that find no room; empty if there is none.
	DivertTo string
	// HighWatermark and LowWatermark are the percents of the capacity between which producers are under
	// pressure.
	HighWatermark, LowWatermark int
	// Credits are the unfinished events that one producer may have in the ring; 0 is without limit.
	Credits int
	// StuckAfter is the time after which a participant that others wait for counts as stuck.
	StuckAfter time.Duration
	// FirstPosition is the position of the first event.
	FirstPosition uint64
	// Created is when the channel was made, by process CreatorPID.
	Created    time.Time
	CreatorPID int
	// ChannelID is the channel's identity; Incarnation says how many times it was made, counted from 1. With
	// a position they identify an event without end.
	ChannelID   [16]byte
	Incarnation uint64
}

// Channel is an open channel. Opening it registers no participant: publishers, subscribers and workers
// are opened from it, and outlive it. It may be used by several goroutines at once.
type Channel struct {
	// Calls hold it for reading, Close for writing.
	mutex   sync.RWMutex
	handle  *C.railbus_channel
	cleanup runtime.Cleanup
	header  Header
}

func newChannel(handle *C.railbus_channel) (*Channel, error) {
	var told C.railbus_error
	header := C.railbus_channel_header{struct_size: C.sizeof_railbus_channel_header}
	if err := failed(C.railbus_channel_describe(handle, &header, &told), &told); err != nil {
		C.railbus_channel_close(handle, nil)
		return nil, err
	}
	channel := &Channel{handle: handle, header: Header{
		Bus:           C.GoString(&header.bus[0]),
		Name:          C.GoString(&header.name[0]),
		Kind:          Kind(header.kind),
		Overflow:      Overflow(header.overflow),
		Stamp:         header.stamp != 0,
		Keyed:         header.keyed != 0,
		PayloadMax:    int(header.payload_max),
		CapacityBytes: uint64(header.capacity_bytes),
		Slots:         uint64(header.slots),
		SlotBytes:     uint64(header.slot_bytes),
		Keys:          uint64(header.keys),
		ValueBytes:    uint64(header.value_bytes),
		PageBytes:     uint64(header.page_bytes),
		HugePages:     header.huge_pages != 0,
		NUMANode:      int(header.numa_node),
		ProducersMax:  int(header.producers_max),
		ConsumersMax:  int(header.consumers_max),
		MaxAttempts:   int(header.max_attempts),
		DeadLetters:   C.GoString(&header.dead_letters[0]),
		DivertTo:      C.GoString(&header.divert_to[0]),
		HighWatermark: int(header.high_watermark),
		LowWatermark:  int(header.low_watermark),
		Credits:       int(header.credits),
		StuckAfter:    time.Duration(header.stuck_after_ns),
		FirstPosition: uint64(header.first_position),
		Created:       time.Unix(0, int64(header.created_ns)),
		CreatorPID:    int(header.creator_pid),
		Incarnation:   uint64(header.incarnation),
	}}
	for i, value := range header.channel_id {
		channel.header.ChannelID[i] = byte(value)
	}
	closeIt := func(handle *C.railbus_channel) { C.railbus_channel_close(handle, nil) }
	channel.cleanup = runtime.AddCleanup(channel, closeIt, handle)
	return channel, nil
}

// Header returns the options that the channel's creator chose. It works on a closed channel, too.
func (channel *Channel) Header() Header { return channel.header }

// Close closes the channel. Handles that were opened from it stay open. A second Close returns
// [ErrClosed].
func (channel *Channel) Close() error {
	channel.mutex.Lock()
	defer channel.mutex.Unlock()
	if channel.handle == nil {
		return closed("channel")
	}
	channel.cleanup.Stop()
	var told C.railbus_error
	result := C.railbus_channel_close(channel.handle, &told)
	channel.handle = nil
	return failed(result, &told)
}

// using runs a call on the open channel.
func (channel *Channel) using(call func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t) error {
	channel.mutex.RLock()
	defer channel.mutex.RUnlock()
	if channel.handle == nil {
		return closed("channel")
	}
	var told C.railbus_error
	return failed(call(channel.handle, &told), &told)
}
