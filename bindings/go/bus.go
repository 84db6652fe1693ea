package railbus

// The bus: a named set of channels.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// Bus is a named set of channels. It may be used by several goroutines at once.
type Bus struct {
	// Calls hold it for reading, Close for writing.
	mutex   sync.RWMutex
	handle  *C.railbus_bus
	cleanup runtime.Cleanup
}

// Open opens the bus of this name. Nothing is made on disk until a channel is made. Close the bus when it
// is no longer needed.
//
// A name has 1 to 100 bytes of UTF-8 without "/" and control characters, and does not start with a dot.
// The directory of all buses is $RAILBUS_DIR, or /dev/shm/railbus if that is not set.
func Open(name string) (*Bus, error) { return OpenIn("", name) }

// OpenIn opens a bus below another directory, which must be on tmpfs.
func OpenIn(directory, name string) (*Bus, error) {
	bus := new(Bus)
	var told C.railbus_error
	cname, bytes := text(name)
	in, inBytes := text(directory)
	if err := failed(C.railbus_go_bus_open(cname, bytes, in, inBytes, &bus.handle, &told), &told); err != nil {
		return nil, err
	}
	bus.cleanup = runtime.AddCleanup(bus, func(handle *C.railbus_bus) { C.railbus_bus_close(handle, nil) }, bus.handle)
	return bus, nil
}

// Close closes the bus. Its channels stay open. A second Close returns [ErrClosed].
func (bus *Bus) Close() error {
	bus.mutex.Lock()
	defer bus.mutex.Unlock()
	if bus.handle == nil {
		return closed("bus")
	}
	bus.cleanup.Stop()
	var told C.railbus_error
	result := C.railbus_bus_close(bus.handle, &told)
	bus.handle = nil
	return failed(result, &told)
}

// List returns the names of the bus's channels, sorted. [ErrNotFound] says that no channel was made yet.
func (bus *Bus) List() ([]string, error) {
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return nil, closed("bus")
	}
	room := make([]byte, 4096)
	for {
		var told C.railbus_error
		var needed C.size_t
		place := (*C.char)(unsafe.Pointer(unsafe.SliceData(room)))
		result := C.railbus_bus_list(bus.handle, place, C.size_t(len(room)), &needed, &told)
		if result == C.RAILBUS_WRONG_LENGTH {
			// Other processes may make channels in the meantime.
			room = make([]byte, 2*int(needed))
			continue
		}
		if err := failed(result, &told); err != nil {
			return nil, err
		}
		if needed == 0 {
			return nil, nil
		}
		return strings.Split(string(room[:needed-1]), "\x00"), nil
	}
}

// Remove removes a channel. Participants that have it open keep it until they leave, but it can no longer
// be found.
func (bus *Bus) Remove(channel string) error {
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return closed("bus")
	}
	var told C.railbus_error
	name, bytes := text(channel)
	return failed(C.railbus_bus_remove(bus.handle, name, bytes, &told), &told)
}

// Adopt puts a journal of this bus that was set aside, in directory (JOURNAL/BUS/NAME~ID), back in its
// place. It then makes the channel again from it, with the options that it had. The journal that was
// there is set aside. While the channel exists, or another process writes to one of the journals, it
// returns [ErrBusy].
func (bus *Bus) Adopt(directory string) (*Channel, error) {
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return nil, closed("bus")
	}
	var told C.railbus_error
	var handle *C.railbus_channel
	channel, _, _ := strings.Cut(filepath.Base(directory), "~")
	name, bytes := text(channel)
	path, pathBytes := text(directory)
	result := C.railbus_go_adopt(bus.handle, name, bytes, path, pathBytes, &handle, &told)
	if err := failed(result, &told); err != nil {
		return nil, err
	}
	return newChannel(handle)
}

// Create makes a channel: it allocates and faults in all its memory, about 0.3 s for a GiB. If a channel
// of the name exists, it returns [ErrExists].
func (bus *Bus) Create(name string, options ChannelOptions) (*Channel, error) {
	return bus.make(name, &options, 0)
}

// CreateOrAttach attaches to a channel, or makes it if it does not exist. Of several processes that do
// this, one creates.
//
// A channel that exists must have every option that is not zero as it is given. Options that are zero are
// not compared, nor is Pages, which is only a wish. If the channel exists with other options, the error
// is [ErrExists] and names each.
func (bus *Bus) CreateOrAttach(name string, options ChannelOptions) (*Channel, error) {
	return bus.make(name, &options, 1)
}

func (bus *Bus) make(name string, options *ChannelOptions, attachToo C.int) (*Channel, error) {
	given, err := options.given()
	if err != nil {
		return nil, err
	}
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return nil, closed("bus")
	}
	var told C.railbus_error
	var handle *C.railbus_channel
	cname, bytes := text(name)
	dead, deadBytes := text(options.DeadLetters)
	other, otherBytes := text(options.DivertTo)
	result := C.railbus_go_channel_make(bus.handle, cname, bytes, &given, dead, deadBytes, other, otherBytes, attachToo,
		&handle, &told)
	if err := failed(result, &told); err != nil {
		return nil, err
	}
	return newChannel(handle)
}

// AttachWait attaches to a channel, and waits for another process to make it if there is none, until ctx is done.
// The bus need not exist either. The wait sleeps until a name appears.
func (bus *Bus) AttachWait(ctx context.Context, name string) (*Channel, error) {
	for {
		limit, err := nextLimit(ctx)
		if err != nil {
			return nil, err
		}
		channel, err := bus.attachWithin(name, limit)
		if !errors.Is(err, ErrTimedOut) {
			return channel, err
		}
	}
}

func (bus *Bus) attachWithin(name string, limit C.uint64_t) (*Channel, error) {
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return nil, closed("bus")
	}
	var told C.railbus_error
	var handle *C.railbus_channel
	cname, bytes := text(name)
	result := C.railbus_channel_attach_timeout(bus.handle, cname, bytes, limit, &handle, &told)
	if err := failed(result, &told); err != nil {
		return nil, err
	}
	return newChannel(handle)
}

// Attach attaches to a channel that exists.
func (bus *Bus) Attach(name string) (*Channel, error) {
	bus.mutex.RLock()
	defer bus.mutex.RUnlock()
	if bus.handle == nil {
		return nil, closed("bus")
	}
	var told C.railbus_error
	var handle *C.railbus_channel
	cname, bytes := text(name)
	if err := failed(C.railbus_channel_attach(bus.handle, cname, bytes, &handle, &told), &told); err != nil {
		return nil, err
	}
	return newChannel(handle)
}
