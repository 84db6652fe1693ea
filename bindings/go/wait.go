package railbus

// Waiting. A wait of the library does not know of contexts, so it is made in slices, and the context is
// checked in between. A slice polls for its first 50 us and sleeps for the rest of 50 ms: an idle wait
// costs a thousandth of a core.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"time"
)

// sliceNS is how long a wait goes on before it checks whether its context is done, or its handle about to
// be closed.
const sliceNS = 50_000_000

// Mode is how a handle waits.
type Mode uint32

// The ways to wait.
const (
	// WaitDefault polls for 50 us, then sleeps until woken. It uses almost no processor time while idle.
	WaitDefault Mode = C.RAILBUS_WAIT_DEFAULT
	// WaitSpin polls without end: the lowest latency, but it uses a whole core.
	WaitSpin Mode = C.RAILBUS_WAIT_SPIN
	// WaitYield polls for Wait.Spin, then gives the processor to others between polls.
	WaitYield Mode = C.RAILBUS_WAIT_YIELD
	// WaitPark polls for Wait.Spin, then sleeps until woken.
	WaitPark Mode = C.RAILBUS_WAIT_PARK
)

// Wait says how a handle waits for events, or for room.
type Wait struct {
	// Mode is the way to wait.
	Mode Mode
	// Spin is how long to poll first, with WaitYield and WaitPark.
	Spin time.Duration
}

func (wait Wait) spinNS() (C.uint64_t, error) {
	if wait.Spin < 0 {
		return 0, invalid("a wait that polls for %v: must not be negative", wait.Spin)
	}
	return C.uint64_t(wait.Spin), nil
}

// firstLimit is the timeout of the first call of a wait. With a deadline it is 0: reading the clock costs
// more than receiving the event that is probably there.
func firstLimit(ctx context.Context) (C.uint64_t, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if _, ends := ctx.Deadline(); ends {
		return 0, nil
	}
	return sliceNS, nil
}

// nextLimit is the timeout of each further call.
func nextLimit(ctx context.Context) (C.uint64_t, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	deadline, ends := ctx.Deadline()
	if !ends {
		return sliceNS, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		// The context's own timer may be late.
		return 0, context.DeadlineExceeded
	}
	return C.uint64_t(min(left, sliceNS)), nil
}

// again reports whether an answer only means that the slice is over.
func again(result C.int32_t) bool {
	return result == C.RAILBUS_TIMED_OUT || result == C.RAILBUS_EMPTY || result == C.RAILBUS_FULL ||
		result == C.RAILBUS_NO_WORKER
}

// ended is the error of a wait that its context ended, with the reason why there was no room if that is
// more than a full ring.
func ended(err error, last C.int32_t) error {
	if last == C.RAILBUS_NO_WORKER {
		return errors.Join(ErrNoWorker, err)
	}
	return err
}
