package railbus

// Journals: recording a channel on disk, and how far the journal is.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"sync"
	"time"
)

// JournalState is the state of a journal.
type JournalState uint32

// The states of a journal.
const (
	// JournalStarting: its journaller is recovering the records on disk.
	JournalStarting JournalState = C.RAILBUS_JOURNAL_STARTING
	// JournalRecording: it records.
	JournalRecording JournalState = C.RAILBUS_JOURNAL_RECORDING
	// JournalDraining: its journaller was asked to stop, and writes the events that it still holds.
	JournalDraining JournalState = C.RAILBUS_JOURNAL_DRAINING
	// JournalStopped: its journaller has stopped; everything that it took is durable.
	JournalStopped JournalState = C.RAILBUS_JOURNAL_STOPPED
	// JournalPoisoned: the disk failed. Nothing more is recorded until a journaller starts again.
	JournalPoisoned JournalState = C.RAILBUS_JOURNAL_POISONED
	// JournalDead: its journaller is dead. The next journaller goes on from there.
	JournalDead JournalState = C.RAILBUS_JOURNAL_DEAD
)

// Sync says when written blocks of a journal are made durable.
type Sync uint32

// The ways to make a journal durable.
const (
	// SyncAlways makes them durable at once, as fast as the disk can.
	SyncAlways Sync = C.RAILBUS_SYNC_ALWAYS
	// SyncInterval makes them durable every RecorderOptions.SyncInterval.
	SyncInterval Sync = C.RAILBUS_SYNC_INTERVAL
	// SyncNever makes them durable when the journal stops. If the machine dies, events that were written may
	// be lost.
	SyncNever Sync = C.RAILBUS_SYNC_NEVER
)

// Codec is the compression of a journal.
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

// RecorderOptions say how to record a channel. Zero is the default of everything.
type RecorderOptions struct {
	// Lossy never holds a publisher back. The recorder loses events instead, exactly recorded as a gap. Not
	// for queues.
	Lossy bool
	// DropWhenFull drops events while the disk is full, and records them as a gap. Without it, publishers
	// wait.
	DropWhenFull bool
	// Sync says when written blocks are made durable; SyncInterval is the interval of the policy of that
	// name.
	Sync         Sync
	SyncInterval time.Duration
	// Codec is the compression of the journal.
	Codec Codec
	// SegmentBytes is the size of a segment file: a multiple of 4096, 268 KiB to 64 GiB; 0 is 256 MiB.
	SegmentBytes uint64
	// StagingBytes is how many bytes may be taken from the ring and not be written yet: a multiple of 256
	// KiB, 1 MiB to 1 GiB. 0 sizes it to the channel, as four of its rings, 1 to 16 MiB. When the disk
	// stalls, this room fills first, and then the ring, before a publisher has to wait.
	StagingBytes uint64
	// KeepBytes removes the oldest segments while the journal has more bytes than this; 0 keeps everything.
	KeepBytes uint64
	// KeepFor removes segments that were recorded longer ago than this; 0 keeps everything.
	KeepFor time.Duration
}

// Journal says how far the journal of a channel is. A position here is exclusive: everything before it is
// in the journal.
type Journal struct {
	// State is the journal's state.
	State JournalState
	// Written: everything before this survives the death of any process. Durable: that of the machine.
	Written, Durable uint64
	// End: everything before this was taken from the ring. First is the oldest position in the journal.
	End, First uint64
	// Started is the time at which the journaller, process PID, started.
	Started time.Time
	PID     int
	// Events and Bytes count the events recorded since then. Gaps counts the gaps, and Lost the events in
	// them, as far as they could be counted.
	Events, Bytes, Gaps, Lost uint64
	// NoSpace says whether the disk is full now.
	NoSpace bool
	// Directory is the directory of the journal, for OpenReplay.
	Directory string
	// Failure is the failure that poisoned it; empty if there was none.
	Failure string
}

// Journal returns how far the journal of the channel is. [ErrPeerGone] says that nothing has ever
// recorded this channel.
func (channel *Channel) Journal() (Journal, error) {
	found := C.railbus_journal{struct_size: C.sizeof_railbus_journal}
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_journal_positions(handle, &found, told)
	})
	if err != nil {
		return Journal{}, err
	}
	return Journal{
		State:     JournalState(found.state),
		Written:   uint64(found.written),
		Durable:   uint64(found.durable),
		End:       uint64(found.end),
		First:     uint64(found.first),
		Started:   time.Unix(0, int64(found.started_ns)),
		PID:       int(found.pid),
		Events:    uint64(found.events),
		Bytes:     uint64(found.bytes),
		Gaps:      uint64(found.gaps),
		Lost:      uint64(found.lost),
		NoSpace:   found.no_space != 0,
		Directory: C.GoString(&found.directory[0]),
		Failure:   C.GoString(&found.failure[0]),
	}, nil
}

// WaitWritten waits until the event at a position is written: it is in the channel's journal and survives
// the death of any process. The position is that of the publishing call. It returns the position before
// which everything is written, and the errors of WaitDurable.
func (channel *Channel) WaitWritten(ctx context.Context, position uint64) (reached uint64, err error) {
	return channel.wait(ctx, func(handle *C.railbus_channel, limit C.uint64_t, told *C.railbus_error) C.int32_t {
		return C.railbus_wait_written(handle, C.uint64_t(position), limit, (*C.uint64_t)(&reached), told)
	}, &reached)
}

// WaitDurable waits until the event at a position is durable: it is in the channel's journal and survives
// the death of the machine. The position is that of the publishing call. It returns the position before
// which everything is durable. When ctx is done before that, it returns the context's error. Then it is
// not known whether the event will be durable, so wait again rather than publish it again.
//
// [ErrPeerGone] says, at once, that nothing records the channel, that its journaller is dead or has
// stopped, or that the event is in a gap of the journal. [ErrIO], [ErrNoSpace] and others are errors of
// the disk. A journal with [SyncNever] makes nothing durable before it stops: use WaitWritten there.
func (channel *Channel) WaitDurable(ctx context.Context, position uint64) (reached uint64, err error) {
	return channel.wait(ctx, func(handle *C.railbus_channel, limit C.uint64_t, told *C.railbus_error) C.int32_t {
		return C.railbus_wait_durable(handle, C.uint64_t(position), limit, (*C.uint64_t)(&reached), told)
	}, &reached)
}

// wait makes a wait on the channel in slices.
func (channel *Channel) wait(
	ctx context.Context, wait func(*C.railbus_channel, C.uint64_t, *C.railbus_error) C.int32_t, reached *uint64,
) (uint64, error) {
	for {
		limit, err := nextLimit(ctx)
		if err != nil {
			return 0, err
		}
		var result C.int32_t
		err = channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
			result = wait(handle, limit, told)
			return result
		})
		if err == nil || result != C.RAILBUS_TIMED_OUT {
			return *reached, err
		}
	}
}

// Recorder records a channel, in a thread of this process. Stop it: otherwise the end of the process
// leaves the journal as a crash would, to be recovered by the next recorder. A forgotten recorder goes on
// recording; the garbage collector does not stop it.
type Recorder struct {
	mutex  sync.Mutex
	handle *C.railbus_recorder
}

// Record recovers the channel's journal below a directory (it is DIRECTORY/BUS/CHANNEL), or begins one,
// and records from now on. It takes as long as recovery and the first segment file take. If the process
// dies, the events that it had taken and not written are kept for the next recorder.
//
// [ErrBusy] says that another journaller records the channel, or writes to the directory; [ErrCorrupt]
// names the damage.
func (channel *Channel) Record(directory string, options RecorderOptions) (*Recorder, error) {
	if options.SyncInterval < 0 || options.KeepFor < 0 {
		return nil, invalid("SyncInterval %v, KeepFor %v: must not be negative", options.SyncInterval, options.KeepFor)
	}
	given := C.railbus_recorder_options{
		struct_size:      C.sizeof_railbus_recorder_options,
		sync:             C.uint32_t(options.Sync),
		codec:            C.uint32_t(options.Codec),
		sync_interval_ns: C.uint64_t(options.SyncInterval),
		segment_bytes:    C.uint64_t(options.SegmentBytes),
		staging_bytes:    C.uint64_t(options.StagingBytes),
		keep_bytes:       C.uint64_t(options.KeepBytes),
		keep_ns:          C.uint64_t(options.KeepFor),
	}
	if options.Lossy {
		given.flags |= C.RAILBUS_RECORD_LOSSY
	}
	if options.DropWhenFull {
		given.flags |= C.RAILBUS_RECORD_DROP_WHEN_FULL
	}
	recorder := new(Recorder)
	path, bytes := text(directory)
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_recorder_start(handle, path, bytes, &given, &recorder.handle, told)
	})
	if err != nil {
		return nil, err
	}
	return recorder, nil
}

// Stop stops recording. Events that were published before are written, made durable and sealed. It waits
// for the disk. If the journal is poisoned, it returns the failure that poisoned it; the recorder is
// stopped all the same. A second Stop returns [ErrClosed].
func (recorder *Recorder) Stop() error {
	recorder.mutex.Lock()
	defer recorder.mutex.Unlock()
	if recorder.handle == nil {
		return closed("recorder")
	}
	var told C.railbus_error
	result := C.railbus_recorder_stop(recorder.handle, &told)
	recorder.handle = nil
	return failed(result, &told)
}
