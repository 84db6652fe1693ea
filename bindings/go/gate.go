package railbus

// Gates. One thread at a time uses the library's senders, readers and workers; a gate keeps two threads
// from calling at once, and keeps a closed handle from being used.

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
	// Whether the handle may be used; the library returns an error for the NULL of a closed one.
	isOpen bool
	// The name of the handle, for errors.
	name string
	// The library's description of the last failure.
	told C.railbus_error
	// Closes a forgotten handle, when the garbage collector finds it.
	cleanup runtime.Cleanup
}

// opened is called with a handle that was just opened.
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

// next goes on after a call that did not succeed, and gives the mutex back: with the timeout of the next
// slice, or the error that ends the wait.
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
