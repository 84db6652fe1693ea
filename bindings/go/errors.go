package railbus

// Errors: a [Code] for each way to fail, and [Error], which names the operation, the object, and how to
// correct it.

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Code is a result of the library that is not success. It is an error itself, to be compared with
// errors.Is:
//
//	if errors.Is(err, railbus.ErrLost) { ... }
//
// Some match errors of the standard library: [ErrNotFound] is fs.ErrNotExist, [ErrExists] is fs.ErrExist,
// [ErrNotAllowed] is fs.ErrPermission, [ErrClosed] is fs.ErrClosed, [ErrTimedOut] is
// os.ErrDeadlineExceeded and [ErrEnded] and [ErrEndOfJournal] are io.EOF.
type Code int32

// Ordinary answers of a bus at work.
const (
	// ErrEmpty says that there is no event now. Only the functions that begin with Try return it.
	ErrEmpty Code = C.RAILBUS_EMPTY
	// ErrFull says that there is no room now. Only the functions that begin with Try return it.
	ErrFull Code = C.RAILBUS_FULL
	// ErrTimedOut says that a limit of time passed. Waits that a context ends return the context's error
	// instead.
	ErrTimedOut Code = C.RAILBUS_TIMED_OUT
	// ErrDropped says that the channel was full, that its creator chose to drop the newest event, and that
	// this event was counted as dropped.
	ErrDropped Code = C.RAILBUS_DROPPED
	// ErrDiverted says that the channel was full, that its creator chose to divert, and that this event is
	// in the other channel.
	ErrDiverted Code = C.RAILBUS_DIVERTED
	// ErrLost says that a lossy reader lost events: those of [Error.Lost]. The next call goes on after them.
	ErrLost Code = C.RAILBUS_LOST
	// ErrEnded says that the last publisher has left and that everything was read. Only readers and workers
	// opened with UntilClosed get it.
	ErrEnded Code = C.RAILBUS_CLOSED
	// ErrPublishedBefore says that the channel has an event of this publisher with this number, or a higher
	// one, already. The event was not published.
	ErrPublishedBefore Code = C.RAILBUS_PUBLISHED_BEFORE
	// ErrEndOfJournal says that a replay has come to its end.
	ErrEndOfJournal Code = C.RAILBUS_END
	// ErrAbsent says that the key of a table has no value.
	ErrAbsent Code = C.RAILBUS_ABSENT
	// ErrChanged says that the key of a table is not of the version that the caller has seen. Nothing was
	// changed.
	ErrChanged Code = C.RAILBUS_CHANGED
)

// Errors.
const (
	// ErrInvalid says that an argument is out of its range, or contradicts another.
	ErrInvalid Code = C.RAILBUS_INVALID
	// ErrNotFound says that there is no such channel, participant or journal.
	ErrNotFound Code = C.RAILBUS_NOT_FOUND
	// ErrExists says that something exists that was to be created, or that it has other options.
	ErrExists Code = C.RAILBUS_EXISTS
	// ErrNotAllowed says that the rights of this process do not allow it.
	ErrNotAllowed Code = C.RAILBUS_NOT_ALLOWED
	// ErrLayout says that the channel was made by a version of railbus with another layout.
	ErrLayout Code = C.RAILBUS_LAYOUT
	// ErrCorrupt says that shared memory or a file has contents that no correct peer writes.
	ErrCorrupt Code = C.RAILBUS_CORRUPT
	// ErrNoSpace says that there is not enough memory or space.
	ErrNoSpace Code = C.RAILBUS_NO_SPACE
	// ErrNoHugePages says that huge pages were required and are not available.
	ErrNoHugePages Code = C.RAILBUS_NO_HUGE_PAGES
	// ErrBusy says that another participant has the only one: the stream's publisher, a durable name, the
	// last registry entry.
	ErrBusy Code = C.RAILBUS_BUSY
	// ErrPeerGone says that a peer that is needed is dead or has left.
	ErrPeerGone Code = C.RAILBUS_PEER_GONE
	// ErrForked says that the handle was made before a fork. Go programs do not get it.
	ErrForked Code = C.RAILBUS_FORKED
	// ErrIO says that the operating system refused for another reason.
	ErrIO Code = C.RAILBUS_IO
	// ErrEvicted says that this participant was evicted. Open it again.
	ErrEvicted Code = C.RAILBUS_EVICTED
	// ErrTooLong says that the event is larger than the channel allows.
	ErrTooLong Code = C.RAILBUS_TOO_LONG
	// ErrNoWorker says that the queue is full and that no worker is alive to take events.
	ErrNoWorker Code = C.RAILBUS_NO_WORKER
	// ErrClosed says that the handle was closed.
	ErrClosed Code = C.RAILBUS_CLOSED_HANDLE
	// ErrWrongLength says that a buffer is too small, or has another size than the event.
	ErrWrongLength Code = C.RAILBUS_WRONG_LENGTH
	// ErrNotHeld says that this worker does not hold the event: it is done, was handed back, or belongs to
	// another worker.
	ErrNotHeld Code = C.RAILBUS_NOT_HELD
	// ErrClaim says that an open claim is in the way, or that the claim is no longer open.
	ErrClaim Code = C.RAILBUS_CLAIM
	// ErrWrongVersion says that the library is of another version than the header this package was compiled
	// with.
	ErrWrongVersion Code = C.RAILBUS_WRONG_VERSION
	// ErrRemoved says that the channel was removed while this participant was attached, and that everything
	// in it was read. It can no longer be found: attach again.
	ErrRemoved Code = C.RAILBUS_REMOVED
	// ErrNotSequenced says that the publisher does not number its events: open it with a name and Sequenced.
	ErrNotSequenced Code = C.RAILBUS_NOT_SEQUENCED
	// ErrDuplicate says that the queue holds an unfinished event with this unique key. Nothing was published.
	ErrDuplicate Code = C.RAILBUS_DUPLICATE
	// ErrNotUnique says that the queue keeps no unique keys: create it with Unique.
	ErrNotUnique Code = C.RAILBUS_NOT_UNIQUE
	// ErrPanic says that railbus has a bug. The handle can only be closed.
	ErrPanic Code = C.RAILBUS_PANIC
)

var symbols = map[Code]string{
	0:        "OK",
	ErrEmpty: "EMPTY", ErrFull: "FULL", ErrTimedOut: "TIMED_OUT", ErrDropped: "DROPPED", ErrLost: "LOST",
	ErrEnded: "CLOSED", ErrInvalid: "INVALID", ErrNotFound: "NOT_FOUND", ErrExists: "EXISTS",
	ErrNotAllowed: "NOT_ALLOWED", ErrLayout: "LAYOUT", ErrCorrupt: "CORRUPT", ErrNoSpace: "NO_SPACE",
	ErrNoHugePages: "NO_HUGE_PAGES", ErrBusy: "BUSY", ErrPeerGone: "PEER_GONE", ErrForked: "FORKED", ErrIO: "IO",
	ErrEvicted: "EVICTED", ErrTooLong: "TOO_LONG", ErrNoWorker: "NO_WORKER", ErrClosed: "CLOSED_HANDLE",
	ErrWrongLength: "WRONG_LENGTH", ErrNotHeld: "NOT_HELD", ErrClaim: "CLAIM", ErrWrongVersion: "WRONG_VERSION",
	ErrPanic: "PANIC", ErrPublishedBefore: "PUBLISHED_BEFORE",
	ErrNotSequenced: "NOT_SEQUENCED", ErrEndOfJournal: "END", ErrDiverted: "DIVERTED", ErrRemoved: "REMOVED",
	ErrDuplicate: "DUPLICATE", ErrNotUnique: "NOT_UNIQUE",
	ErrAbsent: "ABSENT", ErrChanged: "CHANGED",
}

// String returns the name of the code in railbus.h, without the prefix RAILBUS_: "TIMED_OUT".
func (code Code) String() string {
	if symbol, known := symbols[code]; known {
		return symbol
	}
	return fmt.Sprintf("CODE_%d", int32(code))
}

// Error returns a few words, such as "railbus: there is no room now".
func (code Code) Error() string {
	return "railbus: " + C.GoString(C.railbus_describe(C.int32_t(code)))
}

// Is reports whether the standard library's target means the same as the code; see [Code].
func (code Code) Is(target error) bool {
	switch code {
	case ErrNotFound:
		return target == fs.ErrNotExist
	case ErrExists:
		return target == fs.ErrExist
	case ErrNotAllowed:
		return target == fs.ErrPermission
	case ErrClosed:
		return target == fs.ErrClosed
	case ErrTimedOut:
		return target == os.ErrDeadlineExceeded
	case ErrEnded, ErrEndOfJournal:
		return target == io.EOF
	}
	return false
}

// Gap says which events a lossy reader lost.
type Gap struct {
	// From is the first position that is missing.
	From uint64
	// To is the first position after the gap.
	To uint64
	// Events is the number of events in the gap; [None] if the gap is in a journal and the number is not
	// known.
	Events uint64
}

// Error describes a [Code] in words. Every error of this package is of this type, or a bare Code if there
// is nothing to add, or the error of the context that ended a wait. Get it with errors.As.
type Error struct {
	// Code distinguishes the failures.
	Code Code
	// Message names the operation, the object, the reason, and how to correct it.
	Message string
	// Lost is the missing range, if Code is [ErrLost].
	Lost Gap
}

// Error returns the message.
func (failure *Error) Error() string { return "railbus: " + failure.Message }

// Unwrap returns the code, for errors.Is and errors.As.
func (failure *Error) Unwrap() error { return failure.Code }

// failed makes an error of a result that is neither success nor one of the frequent answers, and of the
// library's description of it.
func failed(result C.int32_t, told *C.railbus_error) error {
	switch Code(result) {
	case 0:
		return nil
	case ErrEmpty:
		return ErrEmpty
	case ErrFull:
		return ErrFull
	case ErrAbsent:
		return ErrAbsent
	case ErrTimedOut:
		if told.code != result {
			return ErrTimedOut
		}
	}
	if told.code != result {
		return Code(result)
	}
	// The description of this failure must not be taken for that of the next.
	told.code = 0
	return &Error{
		Code:    Code(result),
		Message: C.GoString(&told.message[0]),
		Lost:    Gap{uint64(told.lost_from), uint64(told.lost_to), uint64(told.lost_events)},
	}
}

// closed is the error of a call on a handle that was closed.
func closed(name string) error {
	return &Error{Code: ErrClosed, Message: "the " + name + " was closed"}
}

// invalid is the error of an argument that is refused before the library is called.
func invalid(format string, parts ...any) error {
	return &Error{Code: ErrInvalid, Message: fmt.Sprintf(format, parts...)}
}
