package railbus

// Journals: recording a channel on disk, and how far that is.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"sync"
	"time"
)

// JournalState is what a journal does.
type JournalState uint32

// The states of a journal.
const (
	// JournalStarting: its journaller is recovering what is there.
	JournalStarting JournalState = C.RAILBUS_JOURNAL_STARTING
	// JournalRecording: it records.
	JournalRecording JournalState = C.RAILBUS_JOURNAL_RECORDING
	// JournalDraining: its journaller was told to stop, and writes what it still has.
	JournalDraining JournalState = C.RAILBUS_JOURNAL_DRAINING
	// JournalStopped: its journaller has stopped; everything it took is durable.
	JournalStopped JournalState = C.RAILBUS_JOURNAL_STOPPED
	// JournalPoisoned: the disk failed; nothing more is recorded until a journaller starts anew.
	JournalPoisoned JournalState = C.RAILBUS_JOURNAL_POISONED
	// JournalDead: its journaller has died; the next one goes on.
	JournalDead JournalState = C.RAILBUS_JOURNAL_DEAD
)

// Sync is when what is written to a journal is made durable.
type Sync uint32

// The ways to make a journal durable.
const (
	// SyncAlways makes it durable at once, as fast as the disk can.
	SyncAlways Sync = C.RAILBUS_SYNC_ALWAYS
	// SyncInterval makes it durable every RecorderOptions.SyncInterval.
	SyncInterval Sync = C.RAILBUS_SYNC_INTERVAL
	// SyncNever makes it durable when the journal stops. A machine that dies may take what was written before.
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
	// Lossy loses events, exactly recorded as a gap, rather than ever hold a publisher back. Not for queues.
	Lossy bool
	// DropWhenFull lets events go, recorded as a gap, while the disk is full; otherwise publishers wait.
	DropWhenFull bool
	// Sync is when what is written is made durable, and SyncInterval how often, with the policy of that name.
	Sync         Sync
	SyncInterval time.Duration
	// Codec is how the journal is compressed.
	Codec Codec
	// SegmentBytes is the size of a segment file: a multiple of 4096, 272 KiB to 64 GiB; 0 is 256 MiB.
	SegmentBytes uint64
	// StagingBytes is how much may be taken from the ring and not yet be written: a multiple of 256 KiB, 1 MiB to 1 GiB; 0
	// is 16 MiB. A stall of the disk costs this much, and then the ring, before a publisher feels it.
	StagingBytes uint64
	// KeepBytes removes the oldest segments while there are more bytes than this; 0 keeps everything.
	KeepBytes uint64
	// KeepFor removes segments that were recorded longer ago than this; 0 keeps everything.
	KeepFor time.Duration
}

// Journal is how far the journal of a channel is. A position here is exclusive: everything before it is in the journal.
type Journal struct {
	// State is what it does.
	State JournalState
	// Written: everything before this survives the death of any process. Durable: that of the machine.
	Written, Durable uint64
	// End: everything before this was taken from the ring. First is the oldest position in the journal.
	End, First uint64
	// Started is when the journaller, process PID, started.
	Started time.Time
	PID     int
	// Events and Bytes count what was recorded since then; Gaps what was not, with Lost events as far as they could be
	// counted.
	Events, Bytes, Gaps, Lost uint64
	// NoSpace says whether the disk is full at the moment.
	NoSpace bool
	// Directory is where the journal is: what OpenReplay takes.
	Directory string
	// Failure says what poisoned it; empty if nothing did.
	Failure string
}

// Journal looks how far the journal of the channel is. [ErrPeerGone] says that nothing has ever recorded this channel.
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

// WaitWritten waits until the event at a position, as publishing told it, is in the channel's journal so that it survives
// the death of any process. It returns the position before which everything is written, and what WaitDurable does.
func (channel *Channel) WaitWritten(ctx context.Context, position uint64) (reached uint64, err error) {
	return channel.wait(ctx, func(handle *C.railbus_channel, limit C.uint64_t, told *C.railbus_error) C.int32_t {
		return C.railbus_wait_written(handle, C.uint64_t(position), limit, (*C.uint64_t)(&reached), told)
	}, &reached)
}

// WaitDurable waits until the event at a position, as publishing told it, is in the channel's journal so that it survives
// the death of the machine. It returns the position before which everything is durable. When ctx is done before, it returns
// the context's error; whether the event will be durable is not known then, so wait again rather than publish it again.
//
// [ErrPeerGone] says, at once, that nothing records the channel, that its journaller has died or stopped, or that the event
// is in a gap of the journal; [ErrIO], [ErrNoSpace] and others what the disk said. A journal with [SyncNever] makes nothing
// durable before it stops: use WaitWritten there.
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

// Recorder records a channel, in a thread of this process. Stop it: the end of the process leaves the journal as a crash
// would, to be recovered by the next recorder. It goes on recording when it is forgotten; the garbage collector does not
// stop it.
type Recorder struct {
	mutex  sync.Mutex
	handle *C.railbus_recorder
}

// Record recovers the channel's journal below a directory (it is DIRECTORY/BUS/CHANNEL), or begins one, and records from now
// on. It takes as long as recovery, and the first segment file, take. What a process that dies had taken and not written is
// kept for the next recorder.
//
// [ErrBusy] says that another journaller records the channel, or writes to the directory; [ErrCorrupt] names what is
// damaged.
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

// Stop stops recording: what was published before is written, made durable and sealed. It waits for the disk. It returns what
// has poisoned the journal, if something has; the recorder is stopped all the same. A second Stop returns [ErrClosed].
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
