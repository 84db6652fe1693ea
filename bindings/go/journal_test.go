package railbus_test

// The journal: recording, waiting until an event is durable, replaying, following a channel from its journal.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"railbus"
)

func init() { roles["record"] = playRecorder }

// small makes little of a journal's files.
var small = railbus.RecorderOptions{SegmentBytes: 1 << 20, StagingBytes: 1 << 20}

// numbered is event i: as many times its number as i%4+1.
func numbered(i uint64) []byte {
	var payload []byte
	for range i%4 + 1 {
		payload = binary.LittleEndian.AppendUint64(payload, i)
	}
	return payload
}

func isNumbered(t testing.TB, payload []byte, i uint64) {
	t.Helper()
	if string(payload) != string(numbered(i)) {
		t.Fatalf("payload %v, wanted event %d", payload, i)
	}
}

// filled is a stream, and the directory of its journal with so many events, event i of type i%4.
func filled(t testing.TB, events uint64) (*railbus.Channel, string) {
	t.Helper()
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 1 << 16, Stamp: true})
	recorder := must(channel.Record(t.TempDir(), small))(t)
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
	var last uint64
	for i := range events {
		last = must(publisher.PublishWith(soon(t), numbered(i), railbus.Attributes{TypeID: uint16(i % 4)}))(t)
	}
	if reached := must(channel.WaitDurable(soon(t), last))(t); reached <= last {
		t.Fatalf("durable up to %d, waited for %d", reached, last)
	}
	journal := must(channel.Journal())(t)
	if journal.State != railbus.JournalRecording || journal.Events != events || journal.PID != os.Getpid() {
		t.Fatalf("%+v", journal)
	}
	check(t, publisher.Close())
	check(t, recorder.Stop())
	return channel, journal.Directory
}

func TestPublishingWhatIsDurable(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Topic})
	if _, err := channel.Journal(); !errors.Is(err, railbus.ErrPeerGone) {
		t.Fatal(err)
	}
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
	defer publisher.Close()
	directory := t.TempDir()
	recorder := must(channel.Record(directory, small))(t)
	if _, err := channel.Record(directory, small); !errors.Is(err, railbus.ErrBusy) {
		t.Fatal(err)
	}
	// With a deadline, and without.
	must(publisher.PublishDurable(soon(t), []byte("kept"), railbus.Attributes{}))(t)
	position := must(publisher.PublishDurable(context.Background(), []byte("kept"), railbus.Attributes{TypeID: 7}))(t)
	must(channel.WaitWritten(context.Background(), position))(t)

	brief, cancel := context.WithTimeout(context.Background(), 120*time.Millisecond)
	defer cancel()
	if _, err := channel.WaitDurable(brief, position+1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	cancelled, cancelIt := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancelIt)
	if _, err := channel.WaitDurable(cancelled, position+1000); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := publisher.PublishDurable(cancelled, []byte("x"), railbus.Attributes{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	check(t, recorder.Stop())
	if err := recorder.Stop(); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
	var notDurable *railbus.NotDurableError
	_, err := publisher.PublishDurable(context.Background(), []byte("published"), railbus.Attributes{})
	if !errors.As(err, &notDurable) || !errors.Is(err, railbus.ErrPeerGone) || notDurable.Position != position+1 {
		t.Fatal(err)
	}
	_, err = publisher.PublishDurable(context.Background(), make([]byte, 1<<16), railbus.Attributes{})
	if errors.As(err, &notDurable) || !errors.Is(err, railbus.ErrTooLong) {
		t.Fatal(err)
	}
}

func TestReplayingAllOfItAndParts(t *testing.T) {
	const events = 1000
	_, directory := filled(t, events)
	var positions, times []uint64
	replay := must(railbus.OpenReplay(directory, railbus.ReplayOptions{}))(t)
	for event, err := range replay.Events(soon(t)) {
		check(t, err)
		isNumbered(t, event.Payload(), uint64(len(positions)))
		if event.TypeID() != uint16(len(positions)%4) || event.Has()&railbus.HasTime == 0 ||
			event.Attributes().PublishedNS == 0 {
			t.Fatalf("%+v", event)
		}
		positions, times = append(positions, event.Position()), append(times, event.RecordedNS)
	}
	if len(positions) != events {
		t.Fatalf("%d events", len(positions))
	}
	if _, err := replay.Next(soon(t)); !errors.Is(err, railbus.ErrEnd) || !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, replay.Close())
	if err := replay.Close(); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := replay.Next(soon(t)); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}

	for name, part := range map[string]struct {
		options           railbus.ReplayOptions
		first, step, many uint64
	}{
		"from a position": {railbus.ReplayOptions{From: railbus.AtPosition(positions[500])}, 500, 1, 500},
		"between positions": {railbus.ReplayOptions{
			From: railbus.AtPosition(positions[10]), To: railbus.AtPosition(positions[20])}, 10, 1, 10},
		"of one type":     {railbus.ReplayOptions{TypeIDs: []uint16{3}}, 3, 4, events / 4},
		"from a time":     {railbus.ReplayOptions{From: railbus.WhenRecorded(time.Unix(1, 0))}, 0, 1, events},
		"to a time":       {railbus.ReplayOptions{To: railbus.WhenRecorded(time.Unix(0, int64(times[0])))}, 0, 1, 0},
		"at a rate":       {railbus.ReplayOptions{Rate: 1e6}, 0, 1, events},
		"at a high speed": {railbus.ReplayOptions{Speed: 1e6}, 0, 1, events},
	} {
		t.Run(name, func(t *testing.T) {
			replay := must(railbus.OpenReplay(directory, part.options))(t)
			defer replay.Close()
			var seen uint64
			batch := make([]railbus.Recorded, 77)
			for {
				count, err := replay.NextBatch(soon(t), batch)
				if errors.Is(err, railbus.ErrEnd) {
					break
				}
				check(t, err)
				for _, event := range batch[:count] {
					isNumbered(t, event.Payload(), part.first+seen*part.step)
					seen++
				}
			}
			if seen != part.many {
				t.Fatalf("%d events, wanted %d", seen, part.many)
			}
		})
	}

	again := must(railbus.OpenReplay(directory, railbus.ReplayOptions{Repeat: true}))(t)
	defer again.Close()
	for i := range uint64(2 * events) {
		isNumbered(t, must(again.Next(soon(t)))(t).Payload(), i%events)
	}
}

func TestAReplayAtAPaceIsCancelledAndClosed(t *testing.T) {
	_, directory := filled(t, 3)
	replay := must(railbus.OpenReplay(directory, railbus.ReplayOptions{Rate: 0.001}))(t)
	isNumbered(t, must(replay.Next(soon(t)))(t).Payload(), 0)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := replay.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { replay.Close() })
	if _, err := replay.Next(context.Background()); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
}

func TestMistakesAboutJournals(t *testing.T) {
	channel, directory := filled(t, 3)
	for _, options := range []railbus.ReplayOptions{
		{Speed: -1}, {Speed: 1, Rate: 1}, {Rate: 1e12}, {From: railbus.AtPosition(1 << 40)},
	} {
		if _, err := railbus.OpenReplay(directory, options); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("%+v: %v", options, err)
		}
	}
	if _, err := railbus.OpenReplay(t.TempDir(), railbus.ReplayOptions{}); !errors.Is(err, railbus.ErrNotFound) {
		t.Error(err)
	}
	for _, options := range []railbus.RecorderOptions{
		{Sync: 9}, {Sync: railbus.SyncInterval}, {SyncInterval: -1}, {Codec: 9}, {SegmentBytes: 5},
	} {
		if _, err := channel.Record(t.TempDir(), options); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("%+v: %v", options, err)
		}
	}
	for _, options := range []railbus.SubscriberOptions{
		{Follow: 9}, {Follow: railbus.FollowHold, Lossy: true}, {Start: railbus.AtTime(time.Now())},
	} {
		if _, err := channel.Subscriber(options); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("%+v: %v", options, err)
		}
	}
}

func TestFollowingFromTheJournalIntoTheRing(t *testing.T) {
	for _, follow := range []railbus.Follow{railbus.FollowHold, railbus.FollowReadJournal} {
		t.Run(fmt.Sprint(follow), func(t *testing.T) {
			const events = 20_000
			channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 1 << 16})
			recorder := must(channel.Record(t.TempDir(), small))(t)
			publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
			publish := func(from, to uint64) error {
				for i := from; i < to; i++ {
					if _, err := publisher.Publish(context.Background(), numbered(i)); err != nil {
						return err
					}
				}
				return nil
			}
			check(t, publish(0, events/2))
			done := make(chan error)
			go func() { done <- publish(events/2, events) }()
			subscriber := must(channel.Subscriber(railbus.SubscriberOptions{Start: railbus.Oldest, Follow: follow}))(t)
			var seen uint64
			for event, err := range subscriber.Events(soon(t)) {
				check(t, err)
				isNumbered(t, event.Payload(), seen)
				if seen++; seen == events {
					break
				}
			}
			check(t, <-done)
			if _, err := subscriber.TryRecv(); !errors.Is(err, railbus.ErrEmpty) {
				t.Fatal(err)
			}
			check(t, subscriber.Close())
			check(t, publisher.Close())
			check(t, recorder.Stop())
		})
	}
}

// playRecorder records the channel of a bus until it is killed.
func playRecorder(arguments []string) error {
	bus, err := railbus.Open(arguments[0])
	if err != nil {
		return err
	}
	channel, err := bus.Attach("channel")
	if err != nil {
		return err
	}
	if _, err := channel.Record(arguments[1], small); err != nil {
		return err
	}
	fmt.Println("recording")
	select {}
}

func TestARecorderThatIsKilled(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream})
	directory := t.TempDir()
	other := start(t, "record", channel.Header().Bus, directory)
	other.says(t, "recording")
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
	defer publisher.Close()
	must(publisher.PublishDurable(soon(t), []byte("one"), railbus.Attributes{}))(t)
	other.kill(t)
	var notDurable *railbus.NotDurableError
	_, err := publisher.PublishDurable(context.Background(), []byte("two"), railbus.Attributes{})
	if !errors.As(err, &notDurable) || !errors.Is(err, railbus.ErrPeerGone) {
		t.Fatal(err)
	}
	if journal := must(channel.Journal())(t); journal.State != railbus.JournalDead {
		t.Fatalf("%+v", journal)
	}
	recorder := must(channel.Record(directory, small))(t)
	must(channel.WaitDurable(soon(t), notDurable.Position))(t)
	check(t, recorder.Stop())
}
