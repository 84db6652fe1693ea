package railbus

// Bridges: waiting with the runtime's poller, which occupies no thread, in place of waiting in the
// library.

/*
#include "shim.h"
*/
import "C"

import (
	"context"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Bridge has a file descriptor that becomes readable when there is something to receive. It is for
// programs that wait for many things at once: a goroutine in Recv occupies a thread of the operating
// system, one in Wait does not. A thread of the library waits in its place, and adds some tens of
// microseconds to the latency.
//
//	for {
//		event, err := subscriber.TryRecv()
//		if err == railbus.ErrEmpty {
//			err = bridge.WaitFor(ctx, subscriber)
//			...
//		}
//	}
//
// After about 100 ms without an event WaitFor returns all the same. The TryRecv or TryTake that follows
// then finds changes that wake nobody, such as the death of a worker that held an event, or the leaving
// of the last publisher.
//
// It may be used by several goroutines at once, but waits for one thing at a time.
type Bridge struct {
	// Calls hold it for reading, Close for writing.
	mutex   sync.RWMutex
	handle  *C.railbus_bridge
	cleanup runtime.Cleanup
	fd      int
	// A second descriptor of the same eventfd, which belongs to the runtime's poller.
	file *os.File
	raw  syscall.RawConn
}

// Armer is anything that a bridge can wait for: a [Subscriber], a [Worker] or a [Table].
type Armer interface {
	arm(bridge *C.railbus_bridge) error
}

func (subscriber *Subscriber) arm(bridge *C.railbus_bridge) error {
	subscriber.mutex.Lock()
	defer subscriber.mutex.Unlock()
	if !subscriber.isOpen {
		return closed(subscriber.name)
	}
	return failed(C.railbus_bridge_arm_reader(bridge, subscriber.handle, &subscriber.told), &subscriber.told)
}

func (worker *Worker) arm(bridge *C.railbus_bridge) error {
	worker.mutex.Lock()
	defer worker.mutex.Unlock()
	if !worker.isOpen {
		return closed(worker.name)
	}
	return failed(C.railbus_bridge_arm_worker(bridge, worker.handle, &worker.told), &worker.told)
}

// Bridge opens a bridge for subscribers or workers of the channel. Needs the rights of a consumer.
func (channel *Channel) Bridge() (*Bridge, error) {
	bridge := new(Bridge)
	var fd C.int
	err := channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_bridge_open(handle, &bridge.handle, &fd, told)
	})
	if err != nil {
		return nil, err
	}
	bridge.fd = int(fd)
	if err := bridge.watch(); err != nil {
		C.railbus_bridge_close(bridge.handle, nil)
		return nil, &Error{Code: ErrIO, Message: "cannot give the bridge's descriptor to the poller: " + err.Error()}
	}
	closeIt := func(handle *C.railbus_bridge) { C.railbus_bridge_close(handle, nil) }
	bridge.cleanup = runtime.AddCleanup(bridge, closeIt, bridge.handle)
	return bridge, nil
}

// watch passes a copy of the descriptor to the runtime's poller.
func (bridge *Bridge) watch() error {
	// Never the number of a standard stream, which the program may have closed.
	copied, _, refused := syscall.Syscall(syscall.SYS_FCNTL, uintptr(bridge.fd), syscall.F_DUPFD_CLOEXEC, 3)
	if refused != 0 {
		return refused
	}
	if err := syscall.SetNonblock(int(copied), true); err != nil {
		syscall.Close(int(copied))
		return err
	}
	bridge.file = os.NewFile(copied, "railbus-bridge")
	raw, err := bridge.file.SyscallConn()
	if err == nil {
		// Refused unless the poller has taken it.
		err = bridge.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		bridge.file.Close()
	}
	bridge.raw = raw
	return err
}

// FD returns the descriptor, for a program's own poll or epoll. It belongs to the bridge: do not read,
// write or close it.
func (bridge *Bridge) FD() int { return bridge.fd }

// Arm makes the descriptor readable as soon as there is something for a subscriber or worker, perhaps at
// once. Arm it again each time.
func (bridge *Bridge) Arm(what Armer) error {
	bridge.mutex.RLock()
	defer bridge.mutex.RUnlock()
	if bridge.handle == nil {
		return closed("bridge")
	}
	return what.arm(bridge.handle)
}

// Drain makes the descriptor unreadable again. Call it after the descriptor was readable.
func (bridge *Bridge) Drain() error {
	bridge.mutex.RLock()
	defer bridge.mutex.RUnlock()
	if bridge.handle == nil {
		return closed("bridge")
	}
	var told C.railbus_error
	return failed(C.railbus_bridge_drain(bridge.handle, &told), &told)
}

// WaitFor waits until there may be something for a subscriber or worker of the channel that had nothing
// just now. It does not occupy a thread. When ctx is done, it returns the context's error. A wake-up may
// be spurious. Close ends it with [ErrClosed].
func (bridge *Bridge) WaitFor(ctx context.Context, what Armer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := bridge.Arm(what); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { bridge.file.SetReadDeadline(time.Unix(1, 0)) })
	err := bridge.raw.Read(readable)
	if !stop() {
		// The deadline was set, or is about to be: wait for that, and remove it.
		for err == nil {
			err = bridge.raw.Read(func(uintptr) bool { return false })
		}
		bridge.file.SetReadDeadline(time.Time{})
		return ctx.Err()
	}
	if err != nil {
		return closed("bridge")
	}
	return bridge.Drain()
}

// readable reports whether the descriptor is readable; the poller asks again when that may have changed.
func readable(fd uintptr) bool {
	// struct pollfd, and a timeout of zero.
	asked := struct {
		fd      int32
		events  int16
		revents int16
	}{int32(fd), 1, 0}
	var nothing syscall.Timespec
	count, _, refused := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1,
		uintptr(unsafe.Pointer(&nothing)), 0, 0, 0)
	return refused != 0 || count != 0
}

// Close closes the bridge and its descriptor. It takes some milliseconds. A second Close returns
// [ErrClosed].
func (bridge *Bridge) Close() error {
	bridge.mutex.Lock()
	defer bridge.mutex.Unlock()
	if bridge.handle == nil {
		return closed("bridge")
	}
	bridge.cleanup.Stop()
	bridge.file.Close()
	var told C.railbus_error
	result := C.railbus_bridge_close(bridge.handle, &told)
	bridge.handle = nil
	return failed(result, &told)
}
