package main

// The roles set and read: a table's writer and its reader.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"railbus"
)

// keyOf is key i of the protocol.
func keyOf(i uint64) railbus.Key {
	if i%2 == 0 {
		return railbus.NumberKey(i)
	}
	return railbus.TextKey(fmt.Sprintf("key-%d", i))
}

var endKey, busyKey = railbus.TextKey("end"), railbus.TextKey("busy")

func openTable(given arguments) (place, *railbus.Table, error) {
	place, err := attach(given)
	if err != nil {
		return place, nil, err
	}
	table, err := place.channel.Table(railbus.TableOptions{})
	return place, table, err
}

func playSet(given arguments) error {
	place, table, err := openTable(given)
	if err != nil {
		return err
	}
	var sizes []int
	for _, word := range strings.Split(given.text("sizes", "8"), ",") {
		size, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("%w: sizes", errUsage)
		}
		sizes = append(sizes, size)
	}
	keys, rounds, remove := given.number("keys", 0), given.number("rounds", 1), given.number("delete", 0)
	compares := given.text("mode", "set") == "compare"
	versions := make(map[uint64]uint64)
	refused := 0
	say("ready")
	for event := range rounds * keys {
		i := event % keys
		value := make([]byte, sizes[event%uint64(len(sizes))])
		fill(value, event, 0)
		if compares {
			if _, err := table.CompareAndSet(keyOf(i), 1<<40, value); errors.Is(err, railbus.ErrChanged) {
				refused++
			}
			seen, known := versions[i]
			if !known {
				seen = railbus.None
			}
			versions[i], err = table.CompareAndSet(keyOf(i), seen, value)
		} else {
			versions[i], err = table.Set(keyOf(i), value)
		}
		if err != nil {
			return err
		}
	}
	for i := uint64(0); remove != 0 && i < keys; i += remove {
		if _, err := table.Delete(keyOf(i)); err != nil {
			return err
		}
		delete(versions, i)
	}
	if _, err := table.Set(endKey, nil); err != nil {
		return err
	}
	sum := uint64(0)
	for _, version := range versions {
		sum += version
	}
	if given.flag("busy") {
		say("holding refused=%d versions=%d", refused, sum)
		value := make([]byte, 16)
		for event := uint64(0); err == nil; event++ {
			fill(value, event, 0)
			_, err = table.Set(busyKey, value)
		}
		return err
	}
	say("done refused=%d versions=%d", refused, sum)
	waitForEnd()
	return place.leave(table.Close)
}

func playRead(given arguments) error {
	place, table, err := openTable(given)
	if err != nil {
		return err
	}
	closers := []func() error{table.Close}
	found := make(map[railbus.Key]railbus.Value)
	mode := given.text("mode", "get")
	// It is registered as a reader now.
	if _, err := table.Len(); err != nil {
		return err
	}
	say("ready")
	switch mode {
	case "get", "all":
		_, err = soon(func(ctx context.Context) (railbus.Value, error) {
			return table.WaitChange(ctx, endKey, railbus.None)
		})
		if err == nil && mode == "all" {
			found, err = table.GetAll()
		}
		for i := uint64(0); err == nil && mode == "get" && i < given.number("keys", 0); i++ {
			value, failed := table.Get(keyOf(i))
			if failed == nil {
				found[keyOf(i)] = value
			} else if failed != railbus.ErrAbsent {
				err = failed
			}
		}
	case "changes":
		err = collect(found, func(ctx context.Context) ([]railbus.Change, error) { return table.Changes(ctx) }, table)
	case "bridge":
		bridge, failed := place.channel.Bridge()
		if failed != nil {
			return failed
		}
		closers = append([]func() error{bridge.Close}, closers...)
		err = collect(found, func(ctx context.Context) ([]railbus.Change, error) {
			for {
				changes, err := table.TryChanges()
				if err != railbus.ErrEmpty {
					return changes, err
				}
				if err := bridge.WaitFor(ctx, table); err != nil {
					return nil, err
				}
			}
		}, table)
	default:
		return fmt.Errorf("%w: mode %q", errUsage, mode)
	}
	if err != nil {
		return err
	}
	delete(found, endKey)
	delete(found, busyKey)
	var all tally
	versions := uint64(0)
	for _, value := range found {
		all.count(value.Bytes, 0, nil)
		versions += value.Version
	}
	say("done present=%d sum=%d versions=%d", len(found), all.sum, versions)
	waitForEnd()
	return place.leave(closers...)
}

// collect learns changes until the key end was there, and no further change is.
func collect(
	found map[railbus.Key]railbus.Value, next func(context.Context) ([]railbus.Change, error), table *railbus.Table,
) error {
	for {
		_, ended := found[endKey]
		var changes []railbus.Change
		var err error
		if ended {
			changes, err = table.TryChanges()
		} else {
			changes, err = soon(next)
		}
		if err == railbus.ErrEmpty && ended {
			return nil
		}
		if err != nil {
			return err
		}
		for _, change := range changes {
			if change.Deleted {
				delete(found, change.Key)
			} else {
				found[change.Key] = change.Value
			}
		}
	}
}
