package railbus

// Gates: what keeps the library, whose senders, readers and workers are used by one thread at a time, from being called
// by two, and from being called with a handle that was closed.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// gate is part of every handle that waits.
type gate struct {
	// Held during every call into the library; between the slices of a wait it is free.
	mutex sync.Mutex
	// Set by Close before it asks for the mutex: a wait gives up at its next slice.
	closing atomic.Bool
	// Whether the handle may be used; the library answers the NULL of a closed one with an error.
	isOpen bool
	// What the handle is, for errors.
	name string
	// What the library said about the last failure.
	told C.railbus_error
	// Closes the handle of somebody who forgot it, when the garbage collector finds out.
	cleanup runtime.Cleanup
}

// opened is called with what was just opened.
func (gate *gate) opened(name string, cleanup runtime.Cleanup) {
	gate.isOpen, gate.name, gate.cleanup = true, name, cleanup
}

// close calls shut, once.
func (gate *gate) close(shut func() C.int32_t) error {
	gate.closing.Store(true)
	gate.mutex.Lock()
	defer gate.mutex.Unlock()
	if !gate.isOpen {
		return closed(gate.name)
	}
	gate.isOpen = false
	gate.cleanup.Stop()
	return failed(shut(), &gate.told)
}

// failure is the error of a result; the mutex is held.
func (gate *gate) failure(result C.int32_t) error {
	if result == C.RAILBUS_OK {
		return nil
	}
	if !gate.isOpen {
		return closed(gate.name)
	}
	return failed(result, &gate.told)
}

// next goes on after a call that did not succeed, and gives the mutex back: with the timeout of the next slice, or the
// error that ends the wait.
func (gate *gate) next(ctx context.Context, result C.int32_t) (C.uint64_t, error) {
	if !gate.isOpen || !again(result) {
		err := gate.failure(result)
		gate.mutex.Unlock()
		return 0, err
	}
	gate.mutex.Unlock()
	if gate.closing.Load() {
		return 0, closed(gate.name)
	}
	limit, err := nextLimit(ctx)
	if err != nil {
		return 0, ended(err, result)
	}
	return limit, nil
}
