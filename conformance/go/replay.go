package main

// The role replay.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"railbus"
)

func playReplay(given arguments) error {
	var options railbus.ReplayOptions
	if list := given["type_ids"]; list != "" {
		for _, word := range strings.Split(list, ",") {
			id, err := strconv.ParseUint(word, 10, 16)
			if err != nil {
				return fmt.Errorf("%w: type_ids=%s", errUsage, list)
			}
			options.TypeIDs = append(options.TypeIDs, uint16(id))
		}
	}
	batch := make([]railbus.Event, 1)
	switch mode := given.text("mode", "next"); mode {
	case "next":
	case "batch":
		batch = make([]railbus.Event, given.number("batch", 16))
	default:
		return fmt.Errorf("%w: mode=%s", errUsage, mode)
	}
	replay, err := railbus.OpenReplay(given["journal"], options)
	if err != nil {
		return err
	}
	var all tally
	for {
		count, err := soon(func(ctx context.Context) (int, error) {
			if len(batch) > 1 {
				return replay.NextBatch(ctx, batch, nil)
			}
			record, err := replay.Next(ctx)
			if err != nil {
				return 0, err
			}
			batch[0] = record.Event
			return 1, nil
		})
		var failure *railbus.Error
		switch {
		case errors.Is(err, railbus.ErrEndOfJournal):
			say("done events=%d first=%d last=%d digest=%d sum=%d lost=%d", all.events, all.first, all.last, all.digest,
				all.sum, all.lost)
			waitForEnd()
			return replay.Close()
		case errors.Is(err, railbus.ErrLost) && errors.As(err, &failure):
			all.lost += failure.Lost.Events
		case err != nil:
			return err
		}
		for _, event := range batch[:count] {
			all.event(event, true)
		}
	}
}
