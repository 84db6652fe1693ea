package railbus

// Threads: a goroutine that counts nanoseconds stays on one thread, and that on one processor.

import (
	"math/bits"
	"runtime"
	"syscall"
	"unsafe"
)

// cpuSet is the kernel's set of processors, for up to 8192 of them.
type cpuSet [128]uint64

// Pin ties the calling goroutine to its thread (runtime.LockOSThread) and the thread to one processor.
// Unpin, to be called by the same goroutine, undoes both. Without a processor to itself a goroutine that
// polls, as with [WaitSpin], may wait for milliseconds until others are done. Programs that the goroutine
// starts before unpin inherit the processor.
//
// A railbus handle does not need it: it may go from thread to thread.
func Pin(cpu int) (unpin func(), err error) {
	var wanted, before cpuSet
	if cpu < 0 || cpu >= len(wanted)*64 {
		return nil, invalid("processor %d: must be from 0 to %d", cpu, len(wanted)*64-1)
	}
	runtime.LockOSThread()
	if refused := affinity(syscall.SYS_SCHED_GETAFFINITY, &before); refused != 0 {
		runtime.UnlockOSThread()
		return nil, &Error{Code: ErrIO, Message: "cannot read the thread's processors: " + refused.Error()}
	}
	wanted[cpu/64] = 1 << (cpu % 64)
	if refused := affinity(syscall.SYS_SCHED_SETAFFINITY, &wanted); refused != 0 {
		runtime.UnlockOSThread()
		return nil, invalid("processor %d: this process may not run there (%v); it may on %v", cpu, refused,
			before.list())
	}
	return func() {
		affinity(syscall.SYS_SCHED_SETAFFINITY, &before)
		runtime.UnlockOSThread()
	}, nil
}

// Processors returns the processors that the calling thread may run on.
func Processors() ([]int, error) {
	var set cpuSet
	if refused := affinity(syscall.SYS_SCHED_GETAFFINITY, &set); refused != 0 {
		return nil, &Error{Code: ErrIO, Message: "cannot read the thread's processors: " + refused.Error()}
	}
	return set.list(), nil
}

func affinity(call uintptr, set *cpuSet) syscall.Errno {
	_, _, refused := syscall.RawSyscall(call, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
	return refused
}

func (set *cpuSet) list() (list []int) {
	for i, word := range set {
		for ; word != 0; word &= word - 1 {
			list = append(list, i*64+bits.TrailingZeros64(word))
		}
	}
	return list
}
