package railbus

// The journal of a channel: recording it, and waiting until an event is in it. Replaying it is in replay.go.

/*
#include "shim_journal.h"

#cgo noescape railbus_go_publish_durable
#cgo nocallback railbus_go_publish_durable
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// JournalState is what a journal does.
type JournalState uint32

// The states.
const (
	// JournalStarting: its recorder is recovering what is there.
	JournalStarting JournalState = C.RAILBUS_JOURNAL_STARTING
	// JournalRecording: it records.
	JournalRecording JournalState = C.RAILBUS_JOURNAL_RECORDING
	// JournalDraining: its recorder was told to stop, and writes what it still has.
	JournalDraining JournalState = C.RAILBUS_JOURNAL_DRAINING
	// JournalStopped: its recorder has stopped; everything it took is durable.
	JournalStopped JournalState = C.RAILBUS_JOURNAL_STOPPED
	// JournalPoisoned: the disk failed; nothing more is recorded until a recorder starts anew.
	JournalPoisoned JournalState = C.RAILBUS_JOURNAL_POISONED
	// JournalDead: its recorder has died; the next one goes on.
	JournalDead JournalState = C.RAILBUS_JOURNAL_DEAD
)

// String returns "recording", for example.
func (state JournalState) String() string {
	switch state {
	case JournalStarting:
		return "starting"
	case JournalRecording:
		return "recording"
	case JournalDraining:
		return "draining"
	case JournalStopped:
		return "stopped"
	case JournalPoisoned:
		return "poisoned"
	case JournalDead:
		return "dead"
	}
	return "unknown state"
}

// Journal is how far the journal of a channel is. Positions are exclusive: everything before them is there.
type Journal struct {
	// State is what it does.
	State JournalState
	// Everything before Written survives the death of any process, before Durable that of the machine. Everything before
	// End was taken from the ring; First is the oldest position in the journal.
	Written, Durable, End, First uint64
	// Started is when the recorder started; the following four are counted from then on.
	Started time.Time
	// Events and Bytes are what was recorded, Gaps how often something could not be, and Lost how many events that was, as
	// far as they could be counted.
	Events, Bytes, Gaps, Lost uint64
	// PID is the recorder's process.
	PID int
	// NoSpace says whether the disk is full at the moment.
	NoSpace bool
	// Directory is where the journal is: what OpenReplay takes.
	Directory string
	// Failure is what poisoned it; empty if nothing did.
	Failure string
}

// Journal returns how far the journal of this channel is. [ErrPeerGone] says that nothing has ever recorded it.
func (channel *Channel) Journal() (Journal, error) {
	found := C.railbus_journal{struct_size: C.sizeof_railbus_journal}
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_journal_positions(handle, &found, told)
	})
	if err != nil {
		return Journal{}, err
	}
	return Journal{
		State:   JournalState(found.state),
		Written: uint64(found.written), Durable: uint64(found.durable), End: uint64(found.end),
		First:   uint64(found.first),
		Started: time.Unix(0, int64(found.started_ns)),
		Events:  uint64(found.events), Bytes: uint64(found.bytes), Gaps: uint64(found.gaps), Lost: uint64(found.lost),
		PID: int(found.pid), NoSpace: found.no_space != 0,
		Directory: C.GoString(&found.directory[0]), Failure: C.GoString(&found.failure[0]),
	}, nil
}

// WaitDurable waits until the event at position, as publishing returned it, is in the journal so that it survives the
// death of the machine, or until ctx is done. It returns the position before which everything is durable.
//
// [ErrPeerGone] says, at once, that nothing records this channel, that its recorder has died or stopped, or that the event
// is in a gap of the journal. When the disk has failed, its error is returned at once. With SyncNever nothing is durable
// before the journal stops.
func (channel *Channel) WaitDurable(ctx context.Context, position uint64) (reached uint64, err error) {
	return channel.waitFor(ctx, position, true)
}

// WaitWritten does as WaitDurable, but waits until the event survives the death of any process.
func (channel *Channel) WaitWritten(ctx context.Context, position uint64) (reached uint64, err error) {
	return channel.waitFor(ctx, position, false)
}

func (channel *Channel) waitFor(ctx context.Context, position uint64, durable bool) (uint64, error) {
	for {
		limit, err := nextLimit(ctx)
		if err != nil {
			return 0, err
		}
		var reached C.uint64_t
		err = channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
			if durable {
				return C.railbus_wait_durable(handle, C.uint64_t(position), limit, &reached, told)
			}
			return C.railbus_wait_written(handle, C.uint64_t(position), limit, &reached, told)
		})
		if err == nil {
			return uint64(reached), nil
		}
		if !errors.Is(err, ErrTimedOut) {
			return 0, err
		}
	}
}

// NotDurableError says that an event was published, and that it is not known whether it will be durable. Do not publish it
// again, but call WaitDurable.
type NotDurableError struct {
	// Position is the event's.
	Position uint64
	// Err is why the wait ended.
	Err error
}

// Error says both.
func (failure *NotDurableError) Error() string {
	return "railbus: the event is published, and may not be durable: " + failure.Err.Error()
}

// Unwrap returns why the wait ended.
func (failure *NotDurableError) Unwrap() error { return failure.Err }

// PublishDurable publishes a copy of payload, with what is to travel with it, and waits until it is durable in the channel's
// journal, or until ctx is done. It waits for room, also where events would be dropped. Keep the channel open meanwhile.
//
// A [NotDurableError] says that it was published, but not that it is durable; with any other error nothing was
// published.
func (sender *sender) PublishDurable(ctx context.Context, payload []byte, attributes Attributes) (uint64, error) {
	given := attributes.given()
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		sender.mutex.Lock()
		answer := C.railbus_go_publish_durable(sender.handle, bytesOf(payload), C.size_t(len(payload)), &given, limit,
			&sender.told)
		if answer.result == C.RAILBUS_OK {
			sender.mutex.Unlock()
			return uint64(answer.value), nil
		}
		if answer.value == C.RAILBUS_NONE {
			if limit, err = sender.next(ctx, answer.result); err != nil {
				return 0, err
			}
			continue
		}
		err = sender.failure(answer.result)
		sender.mutex.Unlock()
		position := uint64(answer.value)
		if errors.Is(err, ErrTimedOut) {
			// The slice is over, not the wait.
			_, err = sender.channel.WaitDurable(ctx, position)
		}
		if err != nil {
			return position, &NotDurableError{position, err}
		}
		return position, nil
	}
}

// Sync is when a recorder makes durable what it has written.
type Sync uint32

// The ways to sync.
const (
	// SyncAlways makes it durable at once, as fast as the disk can.
	SyncAlways Sync = C.RAILBUS_SYNC_ALWAYS
	// SyncInterval does every RecorderOptions.SyncInterval.
	SyncInterval Sync = C.RAILBUS_SYNC_INTERVAL
	// SyncNever does when the journal stops.
	SyncNever Sync = C.RAILBUS_SYNC_NEVER
)

// Codec is how a journal is compressed.
type Codec uint32

// The codecs.
const (
	// CodecNone does not compress.
	CodecNone Codec = C.RAILBUS_CODEC_NONE
	// CodecLZ4 compresses with LZ4.
	CodecLZ4 Codec = C.RAILBUS_CODEC_LZ4
	// CodecZstd compresses with Zstandard.
	CodecZstd Codec = C.RAILBUS_CODEC_ZSTD
)

// RecorderOptions is how a channel is to be recorded. Zero is the default of everything.
type RecorderOptions struct {
	// Sync is when what is written is made durable.
	Sync Sync
	// SyncInterval is how often, with Sync of SyncInterval.
	SyncInterval time.Duration
	// Codec is how to compress.
	Codec Codec
	// Lossy loses events, recorded as gaps, rather than ever hold a publisher back. Not for queues.
	Lossy bool
	// DropWhenFull lets events go, recorded as gaps, while the disk is full. Otherwise publishers wait.
	DropWhenFull bool
	// SegmentBytes is the size of a segment file: a multiple of 4096, 272 KiB to 64 GiB; 0 is 256 MiB.
	SegmentBytes uint64
	// StagingBytes is how much may be taken from the ring and not yet be written: a multiple of 256 KiB, 1 MiB to 1 GiB;
	// 0 is 16 MiB.
	StagingBytes uint64
	// KeepBytes removes the oldest segments while there are more bytes; 0 keeps everything.
	KeepBytes uint64
	// Keep removes segments that were recorded longer ago; 0 keeps everything.
	Keep time.Duration
}

// Recorder records a channel, in a thread of this process.
type Recorder struct {
	mutex   sync.Mutex
	handle  *C.railbus_recorder
	cleanup runtime.Cleanup
}

// Record recovers the channel's journal below directory (it is directory/BUS/CHANNEL), or begins one, and records from now
// on, in a thread of this process. What a process that dies had taken and not written is kept for the next recorder.
//
// [ErrBusy] says that another recorder records the channel, or writes to the directory; [ErrCorrupt] names what is
// damaged.
func (channel *Channel) Record(directory string, options RecorderOptions) (*Recorder, error) {
	if options.SyncInterval < 0 || options.Keep < 0 {
		return nil, invalid("a sync interval of %v, kept for %v: must not be negative", options.SyncInterval, options.Keep)
	}
	given := C.railbus_recorder_options{
		struct_size:      C.sizeof_railbus_recorder_options,
		sync:             C.uint32_t(options.Sync),
		codec:            C.uint32_t(options.Codec),
		sync_interval_ns: C.uint64_t(options.SyncInterval),
		segment_bytes:    C.uint64_t(options.SegmentBytes),
		staging_bytes:    C.uint64_t(options.StagingBytes),
		keep_bytes:       C.uint64_t(options.KeepBytes),
		keep_ns:          C.uint64_t(options.Keep),
	}
	if options.Lossy {
		given.flags |= C.RAILBUS_RECORD_LOSSY
	}
	if options.DropWhenFull {
		given.flags |= C.RAILBUS_RECORD_DROP_WHEN_FULL
	}
	where, bytes := text(directory)
	recorder := new(Recorder)
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_recorder_start(handle, where, bytes, &given, &recorder.handle, told)
	})
	if err != nil {
		return nil, err
	}
	stopIt := func(handle *C.railbus_recorder) { C.railbus_recorder_stop(handle, nil) }
	recorder.cleanup = runtime.AddCleanup(recorder, stopIt, recorder.handle)
	return recorder, nil
}

// Stop records what was published before, makes it durable, seals, and ends. It returns what has poisoned the journal, if
// so. A second Stop returns [ErrClosed].
func (recorder *Recorder) Stop() error {
	recorder.mutex.Lock()
	defer recorder.mutex.Unlock()
	if recorder.handle == nil {
		return closed("recorder")
	}
	recorder.cleanup.Stop()
	handle := recorder.handle
	recorder.handle = nil
	var told C.railbus_error
	return failed(C.railbus_recorder_stop(handle, &told), &told)
}

// Follow is whether a subscriber begins in the channel's journal.
type Follow uint32

// The ways to follow. A subscriber that follows begins in the journal, Oldest being the oldest event there, and goes on
// into the ring without a gap and without a duplicate. It gets one event at a time, and no bridge can be armed with it.
const (
	// FollowNot does not read the journal.
	FollowNot Follow = C.RAILBUS_FOLLOW_NOT
	// FollowHold holds publishers back in the ring, like any subscriber that is not lossy.
	FollowHold Follow = C.RAILBUS_FOLLOW_HOLD
	// FollowReadJournal holds nobody: overrun in the ring, it reads on from the journal. Not durable, not for queues.
	FollowReadJournal Follow = C.RAILBUS_FOLLOW_READ_JOURNAL
)

// AtTime starts with what was recorded then or later. Only for subscribers that follow the journal.
func AtTime(when time.Time) Start {
	return Start{C.RAILBUS_START_TIME, uint64(max(when.UnixNano(), 0))}
}
