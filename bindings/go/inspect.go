package railbus

// Looking at a channel, and helping it: snapshots, repair, eviction.

/*
#include "shim.h"
*/
import "C"

import (
	"time"
)

// None stands in place of a number that does not apply.
const None uint64 = C.RAILBUS_NONE

// Side is a side of a channel.
type Side uint32

// The sides.
const (
	// Producers are the participants that publish.
	Producers Side = C.RAILBUS_PRODUCERS
	// Consumers are the participants that receive.
	Consumers Side = C.RAILBUS_CONSUMERS
)

// Role is the task of a participant.
type Role uint32

// The roles.
const (
	// RoleProducer publishes to a stream or topic, or produces into a queue.
	RoleProducer Role = C.RAILBUS_ROLE_PRODUCER
	// RoleSubscriber reads a stream or topic.
	RoleSubscriber Role = C.RAILBUS_ROLE_SUBSCRIBER
	// RoleWorker takes events from a queue.
	RoleWorker Role = C.RAILBUS_ROLE_WORKER
	// RoleTap reads a queue without taking events.
	RoleTap Role = C.RAILBUS_ROLE_TAP
)

// Life is the state of a participant.
type Life uint32

// The states of life.
const (
	// Alive: its process is alive.
	Alive Life = C.RAILBUS_LIVE
	// Dead: its process is dead. The next process that finds what it left repairs it.
	Dead Life = C.RAILBUS_DEAD
	// Held: a durable subscription without an owner; its cursor holds events back.
	Held Life = C.RAILBUS_HELD
	// Evicted: its process is alive but it was evicted. Its next call reports that.
	Evicted Life = C.RAILBUS_LIFE_EVICTED
)

// Snapshot is the state of a channel at a moment. Positions are bytes in a stream, tickets in a queue or
// topic.
type Snapshot struct {
	// MemoryLocked says whether all mappings are locked in memory.
	MemoryLocked bool
	// Published is the next position to be published, and Oldest the oldest that is retained.
	Published, Oldest uint64
	// Head, of a queue, is the next ticket to be taken; else None.
	Head uint64
	// Depth is how much waits: tickets not taken yet (queue), or positions not read yet by the slowest
	// reader that holds producers back. Capacity is the most that fits.
	Depth, Capacity uint64
	// Unfinished, of a queue, is how many events no worker has finished yet; else None.
	Unfinished uint64
	// Dropped is how many events were dropped because the channel was full; Redelivered and DeadLettered, of
	// a queue, how many were delivered again and became dead letters.
	Dropped, Redelivered, DeadLettered uint64
	// TotalBytes is the length of all files of the channel.
	TotalBytes uint64
	// PageBytes is the size of the pages behind the data in this process, HugeBytes how much of it is in
	// huge pages.
	PageBytes, HugeBytes uint64
	// RingUID, RingGID and RingMode are the rights of the file that producers write.
	RingUID, RingGID, RingMode uint32
	// AcksUID, AcksGID and AcksMode are the rights of the file that consumers write.
	AcksUID, AcksGID, AcksMode uint32
	// Participants are the registered participants.
	Participants []Participant
}

// Participant is a registered participant. Numbers that do not apply are [None].
type Participant struct {
	// Side and Index identify it for Evict.
	Side  Side
	Index uint32
	// Role is its task, and Life its state.
	Role Role
	Life Life
	// Durable, Lossy and Manual are a reader's options.
	Durable, Lossy, Manual bool
	// Name is the name with which it was opened.
	Name string
	// PID is its process, which started StartTime clock ticks after the machine; TID is the thread that
	// opened it.
	PID, TID  int
	StartTime uint64
	// Cursor, of a reader: everything before it was read. Lag is how far that is behind the published
	// position.
	Cursor, Lag uint64
	// Position, of a stream's publisher, is the next position that it writes.
	Position uint64
	// InHand is how many tickets are claimed and not finished.
	InHand uint64
	// Events and Bytes count the published or received events.
	Events, Bytes uint64
	// Lost counts a reader's events that were lost to overrun, Dropped a producer's events that were dropped
	// because the channel was full.
	Lost, Dropped uint64
	// AttachedNS and SeenNS are how long ago it was opened, and last stored the time, in ns.
	AttachedNS, SeenNS uint64
	// WaitingNS is how long it has been waiting for room, in ns, and WaitingFor the position that it waits
	// for.
	WaitingNS, WaitingFor uint64
	// StuckNS is how long it has not moved although others wait for it, in ns.
	StuckNS uint64
	// MayBeStuck says that it did not move, and that the channel's StuckAfter is longer than the watch of 2
	// s.
	MayBeStuck bool
}

// Snapshot looks at the channel and at its registered participants. It registers nothing and disturbs no
// participant. It needs the right to read both files, and takes some system calls for each participant.
// If a participant may be stuck, it watches it for the channel's StuckAfter, at most 2 s.
func (channel *Channel) Snapshot() (Snapshot, error) {
	room := make([]C.railbus_participant, 16)
	for {
		info := C.railbus_channel_info{struct_size: C.sizeof_railbus_channel_info}
		var count C.size_t
		var result C.int32_t
		err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
			result = C.railbus_channel_inspect(handle, &info, &room[0], C.size_t(len(room)), &count, told)
			return result
		})
		if result == C.RAILBUS_WRONG_LENGTH {
			room = make([]C.railbus_participant, 2*int(count))
			continue
		}
		if err != nil {
			return Snapshot{}, err
		}
		return snapshot(&info, room[:count]), nil
	}
}

func snapshot(info *C.railbus_channel_info, found []C.railbus_participant) Snapshot {
	snapshot := Snapshot{
		MemoryLocked: info.memory_locked != 0,
		Published:    uint64(info.published),
		Oldest:       uint64(info.oldest),
		Head:         uint64(info.head),
		Depth:        uint64(info.depth),
		Capacity:     uint64(info.capacity),
		Unfinished:   uint64(info.unfinished),
		Dropped:      uint64(info.dropped),
		Redelivered:  uint64(info.redelivered),
		DeadLettered: uint64(info.dead_lettered),
		TotalBytes:   uint64(info.total_bytes),
		PageBytes:    uint64(info.page_bytes),
		HugeBytes:    uint64(info.huge_bytes),
		RingUID:      uint32(info.ring_uid),
		RingGID:      uint32(info.ring_gid),
		RingMode:     uint32(info.ring_mode),
		AcksUID:      uint32(info.acks_uid),
		AcksGID:      uint32(info.acks_gid),
		AcksMode:     uint32(info.acks_mode),
	}
	for i := range found {
		one := &found[i]
		snapshot.Participants = append(snapshot.Participants, Participant{
			Side:       Side(one.side),
			Index:      uint32(one.index),
			Role:       Role(one.role),
			Life:       Life(one.life),
			Durable:    one.flags&C.RAILBUS_DURABLE != 0,
			Lossy:      one.flags&C.RAILBUS_LOSSY != 0,
			Manual:     one.flags&C.RAILBUS_MANUAL != 0,
			Name:       C.GoString(&one.name[0]),
			PID:        int(one.pid),
			TID:        int(one.tid),
			StartTime:  uint64(one.start_time),
			Cursor:     uint64(one.cursor),
			Lag:        uint64(one.lag),
			Position:   uint64(one.position),
			InHand:     uint64(one.in_hand),
			Events:     uint64(one.events),
			Bytes:      uint64(one.bytes),
			Lost:       uint64(one.lost),
			Dropped:    uint64(one.dropped),
			AttachedNS: uint64(one.attached_ns),
			SeenNS:     uint64(one.seen_ns),
			WaitingNS:  uint64(one.waiting_ns),
			WaitingFor: uint64(one.waiting_for),
			StuckNS:    uint64(one.stuck_ns),
			MayBeStuck: one.flags&C.RAILBUS_MAY_BE_STUCK != 0,
		})
	}
	return snapshot
}

// Repaired is the result of a repair.
type Repaired struct {
	// Skipped counts sides that were left alone because this process may not write them.
	Skipped uint32
	// Buried counts registry entries of dead participants that were freed, Unsettled those that could not be
	// freed yet.
	Buried, Unsettled uint64
	// Aborted, of a topic, counts tickets of dead publishers that were marked as carrying no event.
	Aborted uint64
	// Redone, of a queue, counts events of dead workers that were handed back.
	Redone uint64
}

// Repair frees the entries of all dead participants, after it has repaired what they left. This is never
// necessary, because a participant that waits repairs what is in its way. Durable subscriptions are not
// touched. Safe at any time.
func (channel *Channel) Repair() (Repaired, error) {
	found := C.railbus_repaired{struct_size: C.sizeof_railbus_repaired}
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_channel_repair(handle, &found, told)
	})
	return Repaired{
		Skipped:   uint32(found.skipped),
		Buried:    uint64(found.buried),
		Unsettled: uint64(found.unsettled),
		Aborted:   uint64(found.aborted),
		Redone:    uint64(found.redone),
	}, err
}

// Outcome is the fate of a participant that was evicted.
type Outcome uint32

// The outcomes.
const (
	// EvictedTold: the reader holds nobody back any more. Its next call reports the eviction.
	EvictedTold Outcome = C.RAILBUS_EVICTED_TOLD
	// EvictedForgotten: a durable subscription without an owner was removed.
	EvictedForgotten Outcome = C.RAILBUS_EVICTED_FORGOTTEN
	// EvictedKilled: the process was killed.
	EvictedKilled Outcome = C.RAILBUS_EVICTED_KILLED
	// EvictedDead: its process was dead already.
	EvictedDead Outcome = C.RAILBUS_EVICTED_DEAD
	// EvictedFenced: the worker's events go to others, and its calls about them are refused with ErrEvicted.
	EvictedFenced Outcome = C.RAILBUS_EVICTED_FENCED
)

// Evict evicts a participant that lives but does not move. A reader holds nobody back any more, and its
// next call reports the eviction. The events of a worker go to others, and its calls about them are
// refused. A producer writes in place, so its process is killed with SIGKILL; it may take up to timeout
// to be gone. A durable subscription without an owner is removed. Side and index are those of a
// [Participant].
func (channel *Channel) Evict(side Side, index uint32, timeout time.Duration) (Outcome, error) {
	var outcome C.uint32_t
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		limit := C.uint64_t(max(timeout, 0))
		return C.railbus_channel_evict(handle, C.uint32_t(side), C.uint32_t(index), limit, &outcome, told)
	})
	return Outcome(outcome), err
}
