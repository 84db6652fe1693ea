package railbus

// Publishing many payloads that lie anywhere in Go's memory. C may not get an array of pointers to it. So
// small payloads are first copied, side by side, to memory of C that stays in the processor's cache.
// Large ones are published one by one, which costs less than copying them.

/*
#include "shim.h"

#cgo noescape railbus_go_publish_batch
#cgo nocallback railbus_go_publish_batch
*/
import "C"

import (
	"context"
	"unsafe"
)

const (
	// A chunk has at most this many events and bytes.
	chunkEvents = 1024
	chunkBytes  = 96 << 10
	// Payloads of at least this many bytes are published one by one.
	largeBytes = 8 << 10
)

// batchMemory is C's memory for one chunk: the arguments for the library, and the payloads. It is made
// when it is first needed.
type batchMemory struct {
	payloads *[chunkEvents]piece
	bytes    *[chunkBytes]byte
}

// piece is a railbus_bytes made of numbers: the garbage collector would inspect a pointer that is
// overwritten.
type piece struct{ bytes, count uintptr }

const _ uintptr = -(unsafe.Sizeof(piece{}) ^ C.sizeof_railbus_bytes)

func (memory *batchMemory) make() error {
	if memory.payloads != nil {
		return nil
	}
	all := C.malloc(C.size_t(unsafe.Sizeof(*memory.payloads) + unsafe.Sizeof(*memory.bytes)))
	if all == nil {
		return &Error{Code: ErrNoSpace, Message: "there is no memory for a batch"}
	}
	memory.payloads = (*[chunkEvents]piece)(all)
	memory.bytes = (*[chunkBytes]byte)(unsafe.Add(all, unsafe.Sizeof(*memory.payloads)))
	return nil
}

func (memory *batchMemory) free() {
	C.free(unsafe.Pointer(memory.payloads))
	memory.payloads, memory.bytes = nil, nil
}

// gather copies the first payloads, as many as there is room for before a large one, and returns how
// many.
func (memory *batchMemory) gather(payloads [][]byte) int {
	start, used := uintptr(unsafe.Pointer(memory.bytes)), 0
	for i, payload := range payloads[:min(len(payloads), chunkEvents)] {
		if len(payload) >= largeBytes || used+len(payload) > chunkBytes {
			return i
		}
		copy(memory.bytes[used:], payload)
		memory.payloads[i] = piece{start + uintptr(used), uintptr(len(payload))}
		used += (len(payload) + 7) &^ 7
	}
	return min(len(payloads), chunkEvents)
}

// PublishBatch publishes copies of the payloads, in order. A batch costs one call for many events;
// readers may see it a few at a time.
//
// It waits for room for all of them, also where single events would be dropped. It returns how many were
// published, also with an error. If one is too long, none is published.
func (sender *sender) PublishBatch(ctx context.Context, payloads [][]byte) (published int, err error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	sender.mutex.Lock()
	if err := sender.checkBatch(payloads); err != nil {
		sender.mutex.Unlock()
		return 0, err
	}
	for {
		done, result := sender.publishChunk(payloads[published:], limit)
		published += done
		if result == C.RAILBUS_OK {
			if published == len(payloads) {
				sender.mutex.Unlock()
				return published, nil
			}
			continue
		}
		if limit, err = sender.next(ctx, result); err != nil {
			return published, err
		}
		sender.mutex.Lock()
	}
}

// TryPublishBatch does as PublishBatch without ever waiting: it publishes the events that there is room
// for, and returns [ErrFull] if those are not all.
func (sender *sender) TryPublishBatch(payloads [][]byte) (published int, err error) {
	sender.mutex.Lock()
	defer sender.mutex.Unlock()
	if err := sender.checkBatch(payloads); err != nil {
		return 0, err
	}
	for published < len(payloads) {
		done, result := sender.publishChunk(payloads[published:], 0)
		published += done
		if result != C.RAILBUS_OK {
			return published, sender.failure(result)
		}
	}
	return published, nil
}

// checkBatch refuses a batch, before any of it is published, when a payload is too long; the mutex is
// held.
func (sender *sender) checkBatch(payloads [][]byte) error {
	if !sender.isOpen {
		return closed(sender.name)
	}
	for _, payload := range payloads {
		if len(payload) > sender.payloadMax {
			// The library makes the error.
			answer := C.railbus_go_publish(sender.handle, bytesOf(payload), C.size_t(len(payload)), 0, &sender.told)
			return sender.failure(answer.result)
		}
	}
	return sender.batch.make()
}

// publishChunk publishes some of the first payloads and returns how many; the mutex is held.
func (sender *sender) publishChunk(payloads [][]byte, limit C.uint64_t) (int, C.int32_t) {
	if len(payloads) == 0 {
		return 0, C.RAILBUS_OK
	}
	count := 0
	if sender.isOpen {
		count = sender.batch.gather(payloads)
	}
	if count > 0 {
		pieces := (*C.uint64_t)(unsafe.Pointer(sender.batch.payloads))
		answer := C.railbus_go_publish_batch(sender.handle, pieces, C.size_t(count), limit, &sender.told)
		return int(answer.value), answer.result
	}
	large := payloads[0]
	answer := C.railbus_go_publish(sender.handle, bytesOf(large), C.size_t(len(large)), limit, &sender.told)
	if answer.result != C.RAILBUS_OK {
		return 0, answer.result
	}
	return 1, answer.result
}
