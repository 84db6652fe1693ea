package main

// The probes of tables.

import (
	"context"
	"strings"
	"time"

	"railbus"
)

// table makes a table of the probe's name.
func (probe *probing) table() *railbus.Table {
	must(0, probe.create(railbus.ChannelOptions{Kind: railbus.TableKind, Keys: 64, ValueBytes: 64}))
	table := must(probe.channel.Table(railbus.TableOptions{}))
	probe.closers = append(probe.closers, table.Close)
	return table
}

func init() {
	some := railbus.TextKey("key")
	for name, steps := range map[string]func(*probing) error{
		"table_absent": func(probe *probing) error {
			_, err := probe.table().Get(some)
			return err
		},
		"table_changed": func(probe *probing) error {
			table := probe.table()
			must(table.Set(some, eight))
			_, err := table.CompareAndSet(some, railbus.None, eight)
			return err
		},
		"table_full": func(probe *probing) (err error) {
			table := probe.table()
			for key := range uint64(65) {
				_, err = table.Set(railbus.NumberKey(key), eight)
			}
			return err
		},
		"table_value_long": func(probe *probing) error {
			_, err := probe.table().Set(some, make([]byte, 65))
			return err
		},
		"table_key_empty": func(probe *probing) error {
			_, err := probe.table().Set(railbus.Key{}, eight)
			return err
		},
		"table_key_long": func(probe *probing) error {
			_, err := probe.table().Set(railbus.TextKey(strings.Repeat("x", 65)), eight)
			return err
		},
		"table_of_stream": func(probe *probing) error {
			probe.make(railbus.Stream)
			_, err := probe.channel.Table(railbus.TableOptions{})
			return err
		},
		"reader_of_table": func(probe *probing) error {
			probe.table()
			_, err := probe.channel.Subscriber(railbus.SubscriberOptions{})
			return err
		},
		"table_no_change": func(probe *probing) error {
			_, err := probe.table().TryChanges()
			return err
		},
		"table_timed_out": func(probe *probing) error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			_, err := probe.table().WaitChange(ctx, some, railbus.None)
			return err
		},
		"removed_table": func(probe *probing) error {
			table := probe.table()
			table.Get(some)
			must(0, probe.bus.Remove(probe.name))
			_, err := soon(func(ctx context.Context) (railbus.Value, error) {
				return table.WaitChange(ctx, some, railbus.None)
			})
			return err
		},
		"closed_table": func(probe *probing) error {
			table := probe.table()
			must(0, table.Close())
			_, err := table.Get(some)
			return err
		},
	} {
		probes[name] = steps
	}
}
