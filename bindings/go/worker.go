package railbus

// Workers: one worker holds each event until it is done.

/*
#include "shim.h"

#cgo noescape railbus_go_take
#cgo nocallback railbus_go_take
#cgo noescape railbus_go_take_batch
#cgo nocallback railbus_go_take_batch
#cgo noescape railbus_go_done
#cgo nocallback railbus_go_done
#cgo noescape railbus_go_retry
#cgo nocallback railbus_go_retry
*/
import "C"

import (
	"context"
	"errors"
	"iter"
	"runtime"
)

// WorkerOptions say how a worker behaves. Zero is the default of everything.
type WorkerOptions struct {
	// Name is for observers, at most 64 bytes.
	Name string
	// Wait says how to wait for events.
	Wait Wait
	// Grab is how many events to take from the ring at once, 1 to 64. More is faster with one worker, but
	// less fair between several, because events that one worker has taken are not available to others. 0
	// follows the load.
	Grab uint32
	// Priority is the worker's level: 0 is served first. A worker of a lower level, 1 to 255, gets events
	// only while every worker above it holds as many as it may, or does not move.
	Priority uint8
	// InHandMax is the most events that the worker may hold, 1 to 65535; taking more returns [ErrBusy]. 0 is
	// no bound on level 0, and 1 on the levels below.
	InHandMax uint32
	// UntilClosed ends taking with [ErrEnded] when the last producer has left and everything was done.
	UntilClosed bool
}

// WorkerStats are the counts of a worker.
type WorkerStats struct {
	// Events is how many events it took, redeliveries included.
	Events uint64
	// InHand is how many events it holds.
	InHand uint64
}

// Job is an event that a worker holds. It lies in shared memory, and may be used until it is done, handed
// back, or the worker closed. A worker may hold any number.
type Job struct {
	Event
	token uint64
}

// Worker takes events from a queue. Delivery is at least once: if the worker dies, another gets the
// events that it held. It may be used by several goroutines; they take turns at its calls.
type Worker struct {
	gate
	handle *C.railbus_worker
}

// Worker opens a worker of the channel, which must be a queue. [ErrBusy] says that no registry entry is
// free, [ErrNotAllowed] among others that the queue has dead letters and this process may not produce
// into their queue.
func (channel *Channel) Worker(options WorkerOptions) (*Worker, error) {
	spinNS, err := options.Wait.spinNS()
	if err != nil {
		return nil, err
	}
	var flags C.uint32_t
	if options.UntilClosed {
		flags |= C.RAILBUS_UNTIL_CLOSED
	}
	name, bytes := text(options.Name)
	worker := new(Worker)
	err = channel.using(func(handle *C.railbus_channel, told *C.railbus_error) C.int32_t {
		wait, grab := C.uint32_t(options.Wait.Mode), C.uint32_t(options.Grab)
		level, most := C.uint32_t(options.Priority), C.uint32_t(options.InHandMax)
		return C.railbus_go_worker_open(handle, flags, name, bytes, wait, spinNS, grab, level, most, &worker.handle, told)
	})
	if err != nil {
		return nil, err
	}
	closeIt := func(handle *C.railbus_worker) { C.railbus_worker_close(handle, nil) }
	worker.opened("worker", runtime.AddCleanup(worker, closeIt, worker.handle))
	return worker, nil
}

// Close closes the worker. The events that it holds are handed back, to be delivered again, and must not
// be used any more. Another goroutine that waits for events gets [ErrClosed] within some 50 ms. A second
// Close returns ErrClosed.
func (worker *Worker) Close() error {
	return worker.close(func() C.int32_t {
		handle := worker.handle
		worker.handle = nil
		return C.railbus_worker_close(handle, &worker.told)
	})
}

// Take takes the next event. It waits for it; when ctx is done, it returns the context's error.
// [ErrEnded] reports the end, for a worker opened with UntilClosed.
func (worker *Worker) Take(ctx context.Context) (Job, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return Job{}, err
	}
	for {
		var job [1]Job
		worker.mutex.Lock()
		result := C.railbus_go_take(worker.handle, limit, words(job[:]), &worker.told)
		if result == C.RAILBUS_OK {
			worker.mutex.Unlock()
			return job[0], nil
		}
		if limit, err = worker.next(ctx, result); err != nil {
			return Job{}, err
		}
	}
}

// TryTake does as Take without ever waiting: [ErrEmpty] says that there is no event now.
func (worker *Worker) TryTake() (Job, error) {
	var job [1]Job
	worker.mutex.Lock()
	result := C.railbus_go_take(worker.handle, 0, words(job[:]), &worker.told)
	var err error
	if result != C.RAILBUS_OK {
		err = worker.failure(result)
	}
	worker.mutex.Unlock()
	return job[0], err
}

// TakeBatch takes up to len(jobs) events that are there, and returns how many. It waits for the first
// one, as Take does.
func (worker *Worker) TakeBatch(ctx context.Context, jobs []Job) (int, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return 0, err
	}
	for {
		worker.mutex.Lock()
		answer := C.railbus_go_take_batch(worker.handle, words(jobs), C.size_t(len(jobs)), limit, &worker.told)
		if answer.result == C.RAILBUS_OK {
			worker.mutex.Unlock()
			return int(answer.value), nil
		}
		if limit, err = worker.next(ctx, answer.result); err != nil {
			return 0, err
		}
	}
}

// TryTakeBatch does as TakeBatch without ever waiting: [ErrEmpty] says that there is no event now.
func (worker *Worker) TryTakeBatch(jobs []Job) (int, error) {
	worker.mutex.Lock()
	answer := C.railbus_go_take_batch(worker.handle, words(jobs), C.size_t(len(jobs)), 0, &worker.told)
	var err error
	if answer.result != C.RAILBUS_OK {
		err = worker.failure(answer.result)
	}
	worker.mutex.Unlock()
	return int(answer.value), err
}

// Done marks an event as done: it will not be delivered again. [ErrNotHeld] says that this worker does
// not hold it.
func (worker *Worker) Done(job Job) error {
	one := [1]Job{job}
	return worker.DoneBatch(one[:])
}

// DoneBatch marks all these events as done. After [ErrNotHeld] the others are done.
func (worker *Worker) DoneBatch(jobs []Job) (err error) {
	worker.mutex.Lock()
	result := C.railbus_go_done(worker.handle, words(jobs), C.size_t(len(jobs)), &worker.told)
	if result != C.RAILBUS_OK {
		err = worker.failure(result)
	}
	worker.mutex.Unlock()
	return err
}

// Retry hands an event back: it is delivered again, to this worker or another, with its attempt counted,
// or becomes a dead letter. [ErrNotHeld] says that this worker does not hold it.
func (worker *Worker) Retry(job Job) error {
	one := [1]Job{job}
	return worker.RetryBatch(one[:])
}

// RetryBatch hands all these events back. After [ErrNotHeld] the others are handed back.
func (worker *Worker) RetryBatch(jobs []Job) (err error) {
	worker.mutex.Lock()
	result := C.railbus_go_retry(worker.handle, words(jobs), C.size_t(len(jobs)), &worker.told)
	if result != C.RAILBUS_OK {
		err = worker.failure(result)
	}
	worker.mutex.Unlock()
	return err
}

// Jobs iterates over the events as they come, until ctx is done or the queue has ended (with
// UntilClosed). The body of the loop finishes each with Done or Retry:
//
//	for job, err := range worker.Jobs(ctx) {
//		if err != nil { ... }
//		handle(job.Payload())
//		worker.Done(job)
//	}
//
// An error, including that of ctx, comes with a Job without a payload and is the last thing that the loop
// gets. At [ErrEnded] it just ends.
func (worker *Worker) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for {
			job, err := worker.Take(ctx)
			if errors.Is(err, ErrEnded) || !yield(job, err) || err != nil {
				return
			}
		}
	}
}

// Stats returns the counts of this worker.
func (worker *Worker) Stats() (WorkerStats, error) {
	worker.mutex.Lock()
	defer worker.mutex.Unlock()
	stats := C.railbus_worker_stats{struct_size: C.sizeof_railbus_worker_stats}
	err := worker.failure(C.railbus_worker_statistics(worker.handle, &stats, &worker.told))
	return WorkerStats{uint64(stats.events), uint64(stats.in_hand)}, err
}
