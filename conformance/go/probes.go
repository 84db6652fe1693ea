package main

// The role probe: one mistake each, and the answer to it.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"railbus"
)

// probing holds the open handles of a probe. They are closed after it, in reverse order.
type probing struct {
	bus     *railbus.Bus
	name    string
	channel *railbus.Channel
	closers []func() error
}

// stop ends a probe before its last step: that step failed, and should not have.
type stop struct{ err error }

// must returns the value of a step that does not fail.
func must[T any](value T, err error) T {
	if err != nil {
		panic(stop{err})
	}
	return value
}

func small(kind railbus.Kind) railbus.ChannelOptions {
	if kind == railbus.Stream {
		return railbus.ChannelOptions{Kind: kind, CapacityBytes: 4096}
	}
	return railbus.ChannelOptions{Kind: kind, Slots: 64, SlotBytes: 64}
}

func (probe *probing) create(options railbus.ChannelOptions) error {
	channel, err := probe.bus.Create(probe.name, options)
	if err == nil {
		probe.channel = channel
		probe.closers = append(probe.closers, channel.Close)
	}
	return err
}

func (probe *probing) make(kind railbus.Kind) { must(0, probe.create(small(kind))) }

func (probe *probing) sender() sender {
	sender := must(openSender(probe.channel))
	probe.closers = append(probe.closers, sender.Close)
	return sender
}

func (probe *probing) reader(options railbus.SubscriberOptions) *railbus.Subscriber {
	reader := must(probe.channel.Subscriber(options))
	probe.closers = append(probe.closers, reader.Close)
	return reader
}

func (probe *probing) worker() *railbus.Worker {
	worker := must(probe.channel.Worker(railbus.WorkerOptions{}))
	probe.closers = append(probe.closers, worker.Close)
	return worker
}

// acknowledge acknowledges to a position, with one event that was published and not received.
func (probe *probing) acknowledge(manual bool, position uint64) error {
	probe.make(railbus.Stream)
	reader := probe.reader(railbus.SubscriberOptions{Manual: manual})
	must(probe.sender().TryPublish(eight))
	return reader.AcknowledgeTo(position)
}

// attach attaches to a channel that cannot exist.
func (probe *probing) attach(name string) error {
	_, err := probe.bus.Attach(name)
	return err
}

var eight = []byte("12345678")

// untilNot publishes until it cannot.
func untilNot(publish func() error) error {
	for {
		if err := publish(); err != nil {
			return err
		}
	}
}

func within(limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return call(ctx)
}

// thereAndBack publishes a payload of this many bytes and receives it.
func (probe *probing) thereAndBack(size int) error {
	sender, reader := probe.sender(), probe.reader(railbus.SubscriberOptions{})
	payload := make([]byte, size)
	fill(payload, 1, 0)
	if _, err := sender.TryPublish(payload); err != nil {
		return err
	}
	event, err := soon(reader.Recv)
	if err == nil && !bytes.Equal(event.Payload(), payload) {
		err = railbus.ErrCorrupt
	}
	return err
}

var probes = map[string]func(*probing) error{
	"name_empty":   func(probe *probing) error { return probe.attach("") },
	"name_slash":   func(probe *probing) error { return probe.attach("a/b") },
	"name_dot":     func(probe *probing) error { return probe.attach(".a") },
	"name_zero":    func(probe *probing) error { return probe.attach("a\x00b") },
	"name_control": func(probe *probing) error { return probe.attach("a\nb") },
	"name_long":    func(probe *probing) error { return probe.attach(strings.Repeat("x", 101)) },
	"name_100": func(probe *probing) error {
		probe.name = strings.Repeat("x", 100)
		return probe.create(small(railbus.Stream))
	},
	"name_unicode": func(probe *probing) error {
		probe.name = "kanal ä 漢字 🚌"
		probe.make(railbus.Stream)
		return probe.thereAndBack(8)
	},
	"bus_name_zero": func(*probing) error {
		_, err := railbus.Open("a\x00b")
		return err
	},
	"attach_missing": func(probe *probing) error { return probe.attach(probe.name) },
	"attach_timed_out": func(probe *probing) error {
		return within(20*time.Millisecond, func(ctx context.Context) error {
			_, err := probe.bus.AttachWait(ctx, probe.name)
			return err
		})
	},
	"remove_missing": func(probe *probing) error { return probe.bus.Remove(probe.name) },
	"create_twice": func(probe *probing) error {
		probe.make(railbus.Stream)
		return probe.create(small(railbus.Stream))
	},
	"create_other_kind": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.bus.CreateOrAttach(probe.name, small(railbus.Queue))
		return err
	},
	"capacity_odd": func(probe *probing) error {
		return probe.create(railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 5000})
	},
	"slots_of_stream": func(probe *probing) error {
		return probe.create(railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 4096, Slots: 64})
	},
	"worker_of_stream": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.channel.Worker(railbus.WorkerOptions{})
		return err
	},
	"second_publisher": func(probe *probing) error {
		probe.make(railbus.Stream)
		probe.sender()
		_, err := probe.channel.Publisher(railbus.SenderOptions{})
		return err
	},
	"durable_without_name": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.channel.Subscriber(railbus.SubscriberOptions{Durable: true})
		return err
	},
	"durable_in_use": func(probe *probing) error {
		probe.make(railbus.Stream)
		options := railbus.SubscriberOptions{Durable: true, Name: "mine"}
		probe.reader(options)
		_, err := probe.channel.Subscriber(options)
		return err
	},
	"lossy_tap": func(probe *probing) error {
		probe.make(railbus.Queue)
		_, err := probe.channel.Tap(railbus.SubscriberOptions{Lossy: true})
		return err
	},
	"manual_lossy": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.channel.Subscriber(railbus.SubscriberOptions{Lossy: true, Manual: true})
		return err
	},
	"acknowledge_beyond":     func(probe *probing) error { return probe.acknowledge(true, 8) },
	"acknowledge_not_manual": func(probe *probing) error { return probe.acknowledge(false, 0) },
	"start_not_retained": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.channel.Subscriber(railbus.SubscriberOptions{Start: railbus.At(1 << 40)})
		return err
	},
	"payload_empty": func(probe *probing) error {
		probe.make(railbus.Topic)
		return probe.thereAndBack(0)
	},
	"payload_max": func(probe *probing) error {
		probe.make(railbus.Stream)
		return probe.thereAndBack(probe.channel.Header().PayloadMax)
	},
	"too_long": func(probe *probing) error {
		probe.make(railbus.Stream)
		return probe.thereAndBack(probe.channel.Header().PayloadMax + 1)
	},
	"claim_too_long": func(probe *probing) error {
		probe.make(railbus.Topic)
		_, err := probe.sender().TryClaim(probe.channel.Header().PayloadMax + 1)
		return err
	},
	"empty": func(probe *probing) error {
		probe.make(railbus.Stream)
		_, err := probe.reader(railbus.SubscriberOptions{}).TryRecv()
		return err
	},
	"timed_out": func(probe *probing) error {
		probe.make(railbus.Stream)
		reader := probe.reader(railbus.SubscriberOptions{})
		return within(20*time.Millisecond, func(ctx context.Context) error {
			_, err := reader.Recv(ctx)
			return err
		})
	},
	"take_empty": func(probe *probing) error {
		probe.make(railbus.Queue)
		_, err := probe.worker().TryTake()
		return err
	},
	"full": func(probe *probing) error {
		probe.make(railbus.Stream)
		sender := probe.sender()
		probe.reader(railbus.SubscriberOptions{})
		return untilNot(func() error { _, err := sender.TryPublish(eight); return err })
	},
	"full_timed_out": func(probe *probing) error {
		probe.make(railbus.Topic)
		sender := probe.sender()
		probe.reader(railbus.SubscriberOptions{})
		return untilNot(func() error {
			return within(20*time.Millisecond, func(ctx context.Context) error {
				_, err := sender.Publish(ctx, eight)
				return err
			})
		})
	},
	"dropped": func(probe *probing) error {
		options := small(railbus.Topic)
		options.Overflow = railbus.OverflowDropNewest
		must(0, probe.create(options))
		sender := probe.sender()
		probe.reader(railbus.SubscriberOptions{})
		return untilNot(func() error { _, err := sender.Publish(context.Background(), eight); return err })
	},
	"no_worker": func(probe *probing) error {
		probe.make(railbus.Queue)
		sender := probe.sender()
		must(0, probe.worker().Close())
		return untilNot(func() error { _, err := sender.TryPublish(eight); return err })
	},
	"lost": func(probe *probing) error {
		probe.make(railbus.Stream)
		sender := probe.sender()
		reader := probe.reader(railbus.SubscriberOptions{Lossy: true})
		for range 1000 {
			must(sender.TryPublish(eight))
		}
		_, err := soon(reader.Recv)
		return err
	},
	"closed": func(probe *probing) error {
		probe.make(railbus.Stream)
		sender := probe.sender()
		reader := probe.reader(railbus.SubscriberOptions{UntilClosed: true})
		must(sender.TryPublish(eight))
		must(0, sender.Close())
		must(soon(reader.Recv))
		_, err := soon(reader.Recv)
		return err
	},
	"not_held": func(probe *probing) error {
		probe.make(railbus.Queue)
		worker := probe.worker()
		must(probe.sender().TryPublish(eight))
		job := must(soon(worker.Take))
		must(0, worker.Done(job))
		return worker.Done(job)
	},
	"claim_open": func(probe *probing) error {
		probe.make(railbus.Topic)
		sender := probe.sender()
		must(sender.TryClaim(8))
		_, err := sender.TryPublish(eight)
		return err
	},
	"evicted": func(probe *probing) error {
		probe.make(railbus.Stream)
		reader := probe.reader(railbus.SubscriberOptions{})
		reading := must(probe.channel.Snapshot()).Participants[0]
		must(probe.channel.Evict(railbus.Consumers, reading.Index, 0))
		_, err := reader.TryRecv()
		return err
	},
	"removed_reader": func(probe *probing) error {
		probe.make(railbus.Stream)
		reader := probe.reader(railbus.SubscriberOptions{})
		must(0, probe.bus.Remove(probe.name))
		_, err := soon(reader.Recv)
		return err
	},
	"removed_worker": func(probe *probing) error {
		probe.make(railbus.Queue)
		worker := probe.worker()
		must(0, probe.bus.Remove(probe.name))
		_, err := soon(worker.Take)
		return err
	},
	"removed_sender": func(probe *probing) error {
		probe.make(railbus.Topic)
		sender := probe.sender()
		must(0, probe.bus.Remove(probe.name))
		// One may be on its way.
		sender.TryPublish(eight)
		_, err := sender.TryPublish(eight)
		return err
	},
	"closed_sender": func(probe *probing) error {
		probe.make(railbus.Stream)
		sender := probe.sender()
		must(0, sender.Close())
		_, err := sender.TryPublish(eight)
		return err
	},
	"closed_reader": func(probe *probing) error {
		probe.make(railbus.Stream)
		reader := probe.reader(railbus.SubscriberOptions{})
		must(0, reader.Close())
		_, err := reader.TryRecv()
		return err
	},
	"closed_worker": func(probe *probing) error {
		probe.make(railbus.Queue)
		worker := probe.worker()
		must(0, worker.Close())
		_, err := worker.TryTake()
		return err
	},
	"closed_channel": func(probe *probing) error {
		probe.make(railbus.Stream)
		must(0, probe.channel.Close())
		_, err := probe.channel.Publisher(railbus.SenderOptions{})
		return err
	},
	"closed_bus": func(probe *probing) error {
		other := must(railbus.Open("other"))
		must(0, other.Close())
		_, err := other.Attach(probe.name)
		return err
	},
}

// run runs a probe, and closes and removes its leftovers.
func (probe *probing) run(steps func(*probing) error) (err error) {
	defer func() {
		for i := len(probe.closers) - 1; i >= 0; i-- {
			if closing := probe.closers[i](); closing != nil && !errors.Is(closing, railbus.ErrClosed) {
				err = closing
			}
		}
		probe.bus.Remove(probe.name)
		if failed := recover(); failed != nil {
			stopped, isStop := failed.(stop)
			if !isStop {
				panic(failed)
			}
			err = fmt.Errorf("%s: a step before the last failed: %w", probe.name, stopped.err)
			say("failed %s %v", symbol(err), err)
		}
	}()
	return steps(probe)
}

func playProbes(words []string) error {
	var names []string
	var bus *railbus.Bus
	for _, word := range words {
		if name, is := strings.CutPrefix(word, "bus="); is {
			opened, err := railbus.Open(name)
			if err != nil {
				return err
			}
			bus = opened
		} else {
			names = append(names, word)
		}
	}
	if bus == nil {
		return fmt.Errorf("%w: no bus=", errUsage)
	}
	for _, name := range names {
		// A Go program cannot fork: it starts programs, which is another operation.
		answer := "UNSUPPORTED"
		if steps, known := probes[name]; known {
			answer = symbol((&probing{bus: bus, name: name}).run(steps))
		} else if name != "forked" {
			return fmt.Errorf("%w: unknown probe %q", errUsage, name)
		}
		say("probe %s %s", name, answer)
	}
	return bus.Close()
}
