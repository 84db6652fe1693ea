package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"railbus"
)

func playWork(given arguments) error {
	place, err := attach(given)
	if err != nil {
		return err
	}
	worker, err := place.channel.Worker(railbus.WorkerOptions{
		Name: given["name"], UntilClosed: given.flag("until_closed"),
	})
	if err != nil {
		return err
	}
	wanted := given.number("events", 0)
	var tally tally
	say("ready")
	if given.flag("hold") {
		for range wanted {
			job, err := soon(worker.Take)
			if err != nil {
				return err
			}
			tally.event(job.Event, false)
		}
		say("holding events=%d sum=%d", tally.events, tally.sum)
		waitForEnd()
		return place.leave(worker.Close)
	}

	slow := time.Duration(given.number("slow_us", 0)) * time.Microsecond
	refuse, retry, attributed := given.flag("refuse"), given.number("retry", 0), given.flag("attributes")
	var taken, retried, attempts, origins, originPositions uint64
	refused := func() uint64 {
		if refuse {
			return retried
		}
		return 0
	}
	jobs := make([]railbus.Job, given.number("batch", 16))
	var done []railbus.Job
	for tally.events+refused() < wanted {
		var count int
		switch mode := given.text("mode", "take"); mode {
		case "take":
			count = 1
			jobs[0], err = soon(worker.Take)
		case "batch":
			most := min(wanted-tally.events-refused(), uint64(len(jobs)))
			count, err = soon(func(ctx context.Context) (int, error) { return worker.TakeBatch(ctx, jobs[:most]) })
		default:
			return fmt.Errorf("%w: mode %q", errUsage, mode)
		}
		if errors.Is(err, railbus.ErrEnded) {
			break
		} else if err != nil {
			return err
		}
		done = done[:0]
		for _, job := range jobs[:count] {
			attempts = max(attempts, uint64(job.Attempt()))
			chosen := retry > 0 && taken%retry == 0 && job.Attempt() == 1
			taken++
			time.Sleep(slow)
			if refuse || chosen {
				retried++
				if err := worker.Retry(job); err != nil {
					return err
				}
				continue
			}
			tally.event(job.Event, attributed)
			if job.Has()&railbus.HasOrigin != 0 {
				origins++
				originPositions += job.Attributes().Origin.Position
			}
			done = append(done, job)
		}
		if err := worker.DoneBatch(done); err != nil {
			return err
		}
	}
	say("done events=%d sum=%d retried=%d attempts=%d origins=%d origin_positions=%d", tally.events, tally.sum, retried,
		attempts, origins, originPositions)
	waitForEnd()
	return place.leave(worker.Close)
}
