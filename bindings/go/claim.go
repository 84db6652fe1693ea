package railbus

// Claims: room in the ring that is written in place.

/*
#include "shim.h"

#cgo noescape railbus_go_claim
#cgo nocallback railbus_go_claim
#cgo noescape railbus_go_commit
#cgo nocallback railbus_go_commit
*/
import "C"

import (
	"context"
	"unsafe"
)

// Claim is room for one event in shared memory, to be filled in place. Commit publishes it, Abort gives
// it back. Until then every other call on its publisher but Close returns [ErrClaim].
//
// Readers see nothing of it before Commit. If the process dies with the claim open, no reader ever does.
type Claim struct {
	// It is nil for a claim that was not made.
	sender  *sender
	serial  uint64
	payload uintptr
	bytes   int
}

// Payload returns the room: bytes to be written, aligned to 8, with old contents of the ring. Write them
// with ordinary code, not by asynchronous I/O, and not after Commit, Abort or the publisher's Close.
func (claim Claim) Payload() []byte {
	return unsafe.Slice((*byte)(foreign(&claim.payload)), claim.bytes)
}

// Claim claims room for a payload of this many bytes. It waits as Publish does.
func (sender *sender) Claim(ctx context.Context, payloadBytes int) (Claim, error) {
	return sender.claim(ctx, payloadBytes, nil)
}

// ClaimWith does as Claim, for an event with a type id, trace context, time or origin.
func (sender *sender) ClaimWith(ctx context.Context, payloadBytes int, attributes Attributes) (Claim, error) {
	given := attributes.given()
	return sender.claim(ctx, payloadBytes, &given)
}

// TryClaim does as Claim without ever waiting.
func (sender *sender) TryClaim(payloadBytes int) (claim Claim, err error) {
	if payloadBytes < 0 {
		return Claim{}, invalid("a claim of %d bytes", payloadBytes)
	}
	sender.mutex.Lock()
	answer := C.railbus_go_claim(sender.handle, C.size_t(payloadBytes), nil, 0, &sender.told)
	if answer.result == C.RAILBUS_OK {
		claim = sender.took(answer, payloadBytes)
	} else {
		err = sender.failure(answer.result)
	}
	sender.mutex.Unlock()
	return claim, err
}

func (sender *sender) claim(ctx context.Context, payloadBytes int, given *C.railbus_attributes) (Claim, error) {
	if payloadBytes < 0 {
		return Claim{}, invalid("a claim of %d bytes", payloadBytes)
	}
	limit, err := sender.firstLimitHere(ctx)
	if err != nil {
		return Claim{}, err
	}
	for {
		sender.mutex.Lock()
		answer := C.railbus_go_claim(sender.handle, C.size_t(payloadBytes), given, limit, &sender.told)
		if answer.result == C.RAILBUS_OK {
			claim := sender.took(answer, payloadBytes)
			sender.mutex.Unlock()
			return claim, nil
		}
		if limit, err = sender.next(ctx, answer.result); err != nil {
			return Claim{}, err
		}
	}
}

// took is the claim that the library has just made; the mutex is held.
func (sender *sender) took(answer C.railbus_go_answer, payloadBytes int) Claim {
	sender.claims++
	sender.claimed = true
	return Claim{sender, sender.claims, uintptr(answer.value), payloadBytes}
}

// Commit publishes the event with the first payloadBytes bytes of the claim, at most as many as were
// claimed, and returns its position. [ErrTooLong], with the claim still open, says that the claim is
// smaller; [ErrClaim] that it was ended before.
func (claim Claim) Commit(payloadBytes int) (position uint64, err error) {
	if payloadBytes < 0 {
		return 0, invalid("a payload of %d bytes", payloadBytes)
	}
	if err := claim.lock(); err != nil {
		return 0, err
	}
	sender := claim.sender
	answer := C.railbus_go_commit(sender.handle, C.size_t(payloadBytes), &sender.told)
	sender.claimed = answer.result != C.RAILBUS_OK
	err = sender.failure(answer.result)
	sender.mutex.Unlock()
	return uint64(answer.value), err
}

// Abort gives the claim back. No reader saw any of it. After a Commit it returns [ErrClaim] and does
// nothing, so it may be deferred.
func (claim Claim) Abort() error {
	if err := claim.lock(); err != nil {
		return err
	}
	sender := claim.sender
	sender.claimed = false
	err := sender.failure(C.railbus_abort(sender.handle, &sender.told))
	sender.mutex.Unlock()
	return err
}

// lock takes the sender's mutex, unless the claim was ended.
func (claim Claim) lock() error {
	sender := claim.sender
	if sender == nil {
		return errClaimEnded
	}
	sender.mutex.Lock()
	switch {
	case !sender.isOpen:
		sender.mutex.Unlock()
		return closed(sender.name)
	case !sender.claimed || sender.claims != claim.serial:
		sender.mutex.Unlock()
		return errClaimEnded
	}
	return nil
}

// Made once, because a deferred Abort after Commit returns it each time.
var errClaimEnded = &Error{Code: ErrClaim, Message: "the claim was committed or aborted before, or there was none"}
