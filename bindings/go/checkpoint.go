package railbus

// Checkpoints: a consumer's state, saved together with the position that belongs to it.

/*
#include "shim.h"
*/
import "C"

import (
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// Saved is the content of a checkpoint.
type Saved struct {
	// State is the consumer's state, and Position the place to resume: everything before it is in the state.
	State    []byte
	Position uint64
	// Number counts the saves of the name, from 1; 0 says that nothing was saved yet.
	Number uint64
	// When is the time of the save.
	When time.Time
	// Incarnation is that of the channel to which the position belongs.
	Incarnation uint64
}

// Checkpoint saves a consumer's state with the position that belongs to it, so that both come back
// together. A consumer that is killed at any moment resumes with an old pair or a new one. Its name
// belongs to this handle until Close. Several goroutines may use it, and take turns.
type Checkpoint struct {
	mutex   sync.Mutex
	handle  *C.railbus_checkpoint
	cleanup runtime.Cleanup
}

// Checkpoint takes a name for this process, and returns the pair that was saved under it last.
// Checkpoints lie beside the channel's journal, wherever that is. To go on, subscribe with Start [At] the
// position, and Follow.
//
// [ErrPeerGone] says that nothing has ever recorded the channel; [ErrBusy] that another handle uses the
// name. [ErrCorrupt] says that the saved pair is damaged, or that the channel was lost with its memory
// and made again, and the state contains events that are not in its journal.
func (channel *Channel) Checkpoint(name string) (*Checkpoint, Saved, error) {
	checkpoint := new(Checkpoint)
	found := C.railbus_saved{struct_size: C.sizeof_railbus_saved}
	called, bytes := text(name)
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_checkpoint_call(&checkpoint.handle, C.RAILBUS_CHECKPOINT_OPEN, handle, called, bytes, &found, told)
	})
	if err != nil {
		return nil, Saved{}, err
	}
	closeIt := func(handle *C.railbus_checkpoint) {
		C.railbus_checkpoint_call(&handle, C.RAILBUS_CHECKPOINT_CLOSE, nil, nil, 0, nil, nil)
	}
	checkpoint.cleanup = runtime.AddCleanup(checkpoint, closeIt, checkpoint.handle)
	if found.number == 0 {
		return checkpoint, Saved{}, nil
	}
	state := make([]byte, found.state_bytes)
	copy(state, unsafe.Slice((*byte)(found.state), found.state_bytes))
	return checkpoint, Saved{
		State:       state,
		Position:    uint64(found.position),
		Number:      uint64(found.number),
		When:        time.Unix(0, int64(found.time_ns)),
		Incarnation: uint64(found.incarnation),
	}, nil
}

// Save saves a state that contains the effect of every event before a position. It is durable on return,
// with two syncs. After an error, the pair that was saved before is still there.
func (checkpoint *Checkpoint) Save(position uint64, state []byte) error {
	checkpoint.mutex.Lock()
	defer checkpoint.mutex.Unlock()
	if checkpoint.handle == nil {
		return closed("checkpoint")
	}
	var told C.railbus_error
	bytes := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(state)))
	result := C.railbus_go_checkpoint_save(checkpoint.handle, C.uint64_t(position), bytes, C.size_t(len(state)), &told)
	return failed(result, &told)
}

// Close gives the name back. A second Close returns [ErrClosed].
func (checkpoint *Checkpoint) Close() error {
	checkpoint.mutex.Lock()
	defer checkpoint.mutex.Unlock()
	if checkpoint.handle == nil {
		return closed("checkpoint")
	}
	checkpoint.cleanup.Stop()
	var told C.railbus_error
	result := C.railbus_checkpoint_call(&checkpoint.handle, C.RAILBUS_CHECKPOINT_CLOSE, nil, nil, 0, nil, &told)
	checkpoint.handle = nil
	return failed(result, &told)
}
