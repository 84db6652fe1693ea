package railbus

// Replay: a journal's events again, all or some, as fast as they can be read or at a pace.

/*
#include "shim_journal.h"

#cgo noescape railbus_go_replay_batch
#cgo nocallback railbus_go_replay_batch
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

// Bound is where a replay begins or ends. The zero value is the journal's own beginning or end.
type Bound struct {
	what uint32
	at   uint64
}

// AtPosition is a bound: a position of the channel.
func AtPosition(position uint64) Bound { return Bound{C.RAILBUS_AT_POSITION, position} }

// WhenRecorded is a bound: what was recorded then or later.
func WhenRecorded(when time.Time) Bound {
	return Bound{C.RAILBUS_AT_TIME, uint64(max(when.UnixNano(), 0))}
}

// ReplayOptions is what to replay, and how fast. Zero is all of it, as fast as it goes.
type ReplayOptions struct {
	// From is where to begin. A position must be in the journal; the first event at or behind it is the first.
	From Bound
	// To is where to end; it is not part of it.
	To Bound
	// TypeIDs are the only ones wanted, if there are any.
	TypeIDs []uint16
	// Speed is how many times as fast as recorded, 0.000001 to 1000000; 0 is as fast as it goes.
	Speed float64
	// Rate is how many events a second, whatever their times; 0 is as Speed says.
	Rate float64
	// Repeat replays again and again, without end.
	Repeat bool
}

// Recorded is an event of a journal, and when it was recorded. Its payload may be used until the next call on the replay.
type Recorded struct {
	Event
	// RecordedNS is when it was recorded, in ns since 1970: the recorder's clock, never decreasing.
	RecordedNS uint64
}

// Events that a replay fetches at once.
const fetched = 256

// Replay reads the journal of a channel, also while it is being written, and holds nobody back. It is for one goroutine;
// the others may call Close.
type Replay struct {
	gate
	handle *C.railbus_replay
	// What was fetched and not given out yet is from at to count.
	events    [fetched]Event
	times     [fetched]uint64
	at, count int
}

// OpenReplay opens the journal in directory, which is that of one channel: JOURNAL/BUS/CHANNEL. [ErrNotFound] says that
// there is none, [ErrInvalid] that From is not in it, among others, [ErrCorrupt] names what is damaged.
func OpenReplay(directory string, options ReplayOptions) (*Replay, error) {
	var flags C.uint32_t
	if options.Repeat {
		flags |= C.RAILBUS_REPEAT
	}
	where, bytes := text(directory)
	replay := new(Replay)
	result := C.railbus_go_replay_open(where, bytes, flags, C.uint32_t(options.From.what), C.uint32_t(options.To.what),
		C.uint64_t(options.From.at), C.uint64_t(options.To.at),
		(*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(options.TypeIDs))), C.size_t(len(options.TypeIDs)),
		C.double(options.Speed), C.double(options.Rate), &replay.handle, &replay.told)
	if err := failed(result, &replay.told); err != nil {
		return nil, err
	}
	closeIt := func(handle *C.railbus_replay) { C.railbus_replay_close(handle, nil) }
	replay.opened("replay", runtime.AddCleanup(replay, closeIt, replay.handle))
	return replay, nil
}

// Close closes the replay: what it gave out must not be used any more. Another goroutine that waits in it gets
// [ErrClosed] within some 50 ms. A second Close returns ErrClosed.
func (replay *Replay) Close() error {
	return replay.close(func() C.int32_t {
		handle := replay.handle
		replay.handle = nil
		return C.railbus_replay_close(handle, &replay.told)
	})
}

// Next returns the next event when it is due, or when ctx is done, the context's error.
//
// [ErrEnd], which is io.EOF, says that the replay has come to its end; if the journal is still being written, more may come:
// the next call looks again. [ErrLost] tells of a gap in the journal (Events of [Error.Lost] is [None] when nobody knows how
// many), and the next call goes on behind it.
func (replay *Replay) Next(ctx context.Context) (Recorded, error) {
	var one [1]Recorded
	_, err := replay.NextBatch(ctx, one[:])
	return one[0], err
}

// NextBatch fills events with those that are due, and returns how many. It waits for the first one, as Next does. All of
// them may be used until the next call on the replay.
func (replay *Replay) NextBatch(ctx context.Context, events []Recorded) (int, error) {
	if len(events) == 0 {
		return 0, invalid("a batch without room for an event")
	}
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	replay.mutex.Lock()
	if replay.isOpen && replay.at < replay.count {
		given := replay.give(events)
		replay.mutex.Unlock()
		return given, nil
	}
	replay.mutex.Unlock()
	for {
		replay.mutex.Lock()
		replay.at, replay.count = 0, 0
		answer := C.railbus_go_replay_batch(replay.handle, words(replay.events[:]),
			(*C.uint64_t)(unsafe.Pointer(&replay.times)), fetched, limit, &replay.told)
		if answer.result == C.RAILBUS_OK {
			replay.count = int(answer.value)
			given := replay.give(events)
			replay.mutex.Unlock()
			return given, nil
		}
		if limit, err = replay.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// give gives out what was fetched. The mutex is held.
func (replay *Replay) give(events []Recorded) int {
	given := min(len(events), replay.count-replay.at)
	for i := range events[:given] {
		events[i] = Recorded{replay.events[replay.at+i], replay.times[replay.at+i]}
	}
	replay.at += given
	return given
}

// Events iterates over the events as they are due, each to be used in the body of the loop only, until the end of the
// replay:
//
//	for event, err := range replay.Events(ctx) {
//		if err != nil { ... }
//		use(event.Payload(), event.RecordedNS)
//	}
//
// An error comes with an event without a payload. After [ErrLost] the loop goes on with the event behind the gap; any
// other error, that of ctx among them, is the last thing it gets.
func (replay *Replay) Events(ctx context.Context) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		for {
			event, err := replay.Next(ctx)
			if errors.Is(err, ErrEnd) {
				return
			}
			if !yield(event, err) || (err != nil && !errors.Is(err, ErrLost)) {
				return
			}
		}
	}
}
