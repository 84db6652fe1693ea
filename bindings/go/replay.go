package railbus

// Replay: reading a journal from disk.

/*
#include "shim.h"

#cgo noescape railbus_go_replay_next
#cgo nocallback railbus_go_replay_next
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

// ReplayBound is a place where a replay begins or ends. The zero value is where the journal does.
type ReplayBound struct {
	what  uint32
	value uint64
}

// AtPosition bounds a replay at a position. A position to begin at must be in the journal; the first
// event at or after it is the first.
func AtPosition(position uint64) ReplayBound { return ReplayBound{C.RAILBUS_AT_POSITION, position} }

// AtTime bounds a replay at the first event recorded at a time or later.
func AtTime(when time.Time) ReplayBound {
	return ReplayBound{C.RAILBUS_AT_TIME, uint64(max(when.UnixNano(), 0))}
}

// ReplayOptions are the range and the pace of a replay. Zero is the default of everything.
type ReplayOptions struct {
	// From is the place to begin, and To the place to end; the event at To is not replayed.
	From, To ReplayBound
	// TypeIDs replays events of these type ids only, if it is not empty.
	TypeIDs []uint16
	// Speed is the factor of the recorded speed, 0.000001 to 1000000; 0 is as fast as possible. Not with
	// Rate.
	Speed float64
	// Rate is events a second, 0.001 to 1000000000, whatever their times; 0 uses Speed.
	Rate float64
	// Repeat replays again and again, without end.
	Repeat bool
}

// Replay is a running replay. It only reads the journal's files, also while they are being written, and
// holds nobody back. An event that it returns may be used until the next call on it. So it is for one
// goroutine, but another may close it.
type Replay struct {
	gate
	handle *C.railbus_replay
}

// Record is an event of a journal.
type Record struct {
	Event
	// RecordedNS is when it was recorded, in ns since 1970.
	RecordedNS uint64
}

// OpenReplay opens the journal in a directory (DIRECTORY/BUS/CHANNEL of the directory given to Record)
// for reading, and finds the place to begin. This takes milliseconds, whatever the size of the journal
// is. [ErrNotFound] says that there is no journal, [ErrInvalid] among others that the position is older
// than the events kept, or beyond the end.
func OpenReplay(directory string, options ReplayOptions) (*Replay, error) {
	given := C.railbus_replay_options{
		struct_size: C.sizeof_railbus_replay_options,
		from_what:   C.uint32_t(options.From.what),
		to_what:     C.uint32_t(options.To.what),
		from:        C.uint64_t(options.From.value),
		to:          C.uint64_t(options.To.value),
		speed:       C.double(options.Speed),
		rate:        C.double(options.Rate),
	}
	if options.Repeat {
		given.flags = C.RAILBUS_REPEAT
	}
	replay := new(Replay)
	path, bytes := text(directory)
	types := (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(options.TypeIDs)))
	result := C.railbus_go_replay_open(path, bytes, &given, types, C.size_t(len(options.TypeIDs)), &replay.handle,
		&replay.told)
	if err := failed(result, &replay.told); err != nil {
		return nil, err
	}
	closeIt := func(handle *C.railbus_replay) { C.railbus_replay_close(handle, nil) }
	replay.opened("replay", runtime.AddCleanup(replay, closeIt, replay.handle))
	return replay, nil
}

// Close closes the replay. The events that it returned must not be used any more. Another goroutine that
// waits gets [ErrClosed] within some 50 ms. A second Close returns ErrClosed.
func (replay *Replay) Close() error {
	return replay.close(func() C.int32_t {
		handle := replay.handle
		replay.handle = nil
		return C.railbus_replay_close(handle, &replay.told)
	})
}

// Next returns the next event. It waits until that is due; when ctx is done, it returns the context's
// error.
//
// [ErrEndOfJournal] says that the end was reached. If the journal is still being written, more events may
// come: the next call looks again. [ErrLost] reports a gap in the journal, and the next call goes on
// after it. [ErrCorrupt] names the place.
func (replay *Replay) Next(ctx context.Context) (Record, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return Record{}, err
	}
	for {
		var record [1]Record
		replay.mutex.Lock()
		result := replay.nextOne(&record[0], limit)
		if result == C.RAILBUS_OK {
			replay.mutex.Unlock()
			return record[0], nil
		}
		if limit, err = replay.next(ctx, result); err != nil {
			return Record{}, err
		}
	}
}

// TryNext does as Next without ever waiting: [ErrEmpty] says that the next event is not due yet.
func (replay *Replay) TryNext() (record Record, err error) {
	replay.mutex.Lock()
	result := replay.nextOne(&record, 0)
	if result != C.RAILBUS_OK {
		err = replay.failure(result)
	}
	replay.mutex.Unlock()
	return record, err
}

func (replay *Replay) nextOne(record *Record, limit C.uint64_t) C.int32_t {
	event := (*C.uint64_t)(unsafe.Pointer(&record.Event))
	return C.railbus_go_replay_next(replay.handle, limit, event, (*C.uint64_t)(&record.RecordedNS), &replay.told)
}

// NextBatch returns up to len(events) events that are due, in place, and their number. It waits for the
// first one, as Next does. All of them may be used until the next call on this replay. If recordedNS is
// not nil it gets the time at which each was recorded, in ns since 1970, and must be as long as events. A
// batch of many bytes may end earlier.
func (replay *Replay) NextBatch(ctx context.Context, events []Event, recordedNS []uint64) (int, error) {
	if err := checkTimes(events, recordedNS); err != nil {
		return 0, err
	}
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		replay.mutex.Lock()
		answer := replay.nextBatch(events, recordedNS, limit)
		if answer.result == C.RAILBUS_OK {
			replay.mutex.Unlock()
			return int(answer.value), nil
		}
		if limit, err = replay.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryNextBatch does as NextBatch without ever waiting: [ErrEmpty] says that the next event is not due
// yet.
func (replay *Replay) TryNextBatch(events []Event, recordedNS []uint64) (int, error) {
	if err := checkTimes(events, recordedNS); err != nil {
		return 0, err
	}
	replay.mutex.Lock()
	answer := replay.nextBatch(events, recordedNS, 0)
	var err error
	if answer.result != C.RAILBUS_OK {
		err = replay.failure(answer.result)
	}
	replay.mutex.Unlock()
	return int(answer.value), err
}

func (replay *Replay) nextBatch(events []Event, recordedNS []uint64, limit C.uint64_t) C.railbus_go_answer {
	times := (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(recordedNS)))
	return C.railbus_go_replay_batch(replay.handle, words(events), times, C.size_t(len(events)), limit, &replay.told)
}

func checkTimes(events []Event, recordedNS []uint64) error {
	if recordedNS != nil && len(recordedNS) < len(events) {
		return invalid("room for %d events, and for the times of %d", len(events), len(recordedNS))
	}
	return nil
}

// Records iterates over the events of the replay, each to be used in the body of the loop only, until the
// end or until ctx is done. An error comes with a Record without a payload. After [ErrLost] the loop goes
// on after the gap. Any other error, including that of ctx, is the last thing that it gets. At
// [ErrEndOfJournal] it just ends.
func (replay *Replay) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			record, err := replay.Next(ctx)
			if errors.Is(err, ErrEndOfJournal) {
				return
			}
			if !yield(record, err) || (err != nil && !errors.Is(err, ErrLost)) {
				return
			}
		}
	}
}
