package railbus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"railbus"
)

// smallJournal does not take 256 MiB of the disk.
var smallJournal = railbus.RecorderOptions{SegmentBytes: 1 << 20, StagingBytes: 1 << 20}

// recorded is a channel with 100 numbered events in its journal, all durable; event i has type id i mod
// 4.
func recorded(t *testing.T, options railbus.ChannelOptions) (
	channel *railbus.Channel, publisher *railbus.Publisher, recorder *railbus.Recorder, positions []uint64,
) {
	t.Helper()
	options.Stamp = true
	channel = newChannel(t, options)
	publisher = must(channel.Publisher(railbus.SenderOptions{}))(t)
	t.Cleanup(func() { publisher.Close() })
	recorder = must(channel.Record(t.TempDir(), smallJournal))(t)
	t.Cleanup(func() { recorder.Stop() })
	for i := range 100 {
		positions = append(positions, publishTyped(t, publisher, i))
	}
	last := positions[len(positions)-1]
	if reached := must(channel.WaitDurable(soon(t), last))(t); reached <= last {
		t.Errorf("durable before %d, the last event is at %d", reached, last)
	}
	return channel, publisher, recorder, positions
}

func publishTyped(t testing.TB, publisher *railbus.Publisher, i int) uint64 {
	t.Helper()
	attributes := railbus.Attributes{TypeID: uint16(i % 4)}
	return must(publisher.PublishWith(soon(t), text(i), attributes))(t)
}

func TestRecordAndReplay(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		before := time.Now()
		channel, publisher, recorder, positions := recorded(t, options)
		journal := must(channel.Journal())(t)
		if journal.State != railbus.JournalRecording || journal.Events != 100 || journal.Gaps != 0 || journal.NoSpace ||
			journal.Failure != "" || journal.Durable < positions[99] || journal.Written < journal.Durable {
			t.Errorf("the journal is %+v", journal)
		}
		if filepath.Base(journal.Directory) != "channel" {
			t.Errorf("the journal is in %s", journal.Directory)
		}
		if reached := must(channel.WaitWritten(soon(t), positions[50]))(t); reached <= positions[50] {
			t.Errorf("written before %d", reached)
		}
		type wanted struct {
			name    string
			options railbus.ReplayOptions
			first   int
			step    int
			events  int
		}
		for _, one := range []wanted{
			{"everything", railbus.ReplayOptions{}, 0, 1, 100},
			{"from a position to another", railbus.ReplayOptions{
				From: railbus.AtPosition(positions[10]), To: railbus.AtPosition(positions[20])}, 10, 1, 10},
			{"one type", railbus.ReplayOptions{TypeIDs: []uint16{2}}, 2, 4, 25},
			{"since before", railbus.ReplayOptions{From: railbus.AtTime(before)}, 0, 1, 100},
			{"until before", railbus.ReplayOptions{To: railbus.AtTime(before)}, 0, 1, 0},
			{"at a rate", railbus.ReplayOptions{Rate: 1e6}, 0, 1, 100},
		} {
			t.Run(one.name, func(t *testing.T) {
				replay := must(railbus.OpenReplay(journal.Directory, one.options))(t)
				defer replay.Close()
				events, last := 0, uint64(0)
				for record, err := range replay.Records(soon(t)) {
					check(t, err)
					i := one.first + events*one.step
					wantText(t, record.Event, i)
					if record.Position() != positions[i] || record.TypeID() != uint16(i%4) || record.RecordedNS < last ||
						record.Attributes().PublishedNS == 0 {
						t.Fatalf("record %d is %+v", i, record)
					}
					last = record.RecordedNS
					events++
				}
				if events != one.events {
					t.Errorf("%d events, wanted %d", events, one.events)
				}
				if _, err := replay.TryNext(); !errors.Is(err, railbus.ErrEndOfJournal) || !errors.Is(err, io.EOF) {
					t.Errorf("behind the end: %v", err)
				}
			})
		}
		replay := must(railbus.OpenReplay(journal.Directory, railbus.ReplayOptions{}))(t)
		defer replay.Close()
		events, times := make([]railbus.Event, 32), make([]uint64, 32)
		for i := 0; i < 100; {
			count := must(replay.NextBatch(soon(t), events, times))(t)
			for k, event := range events[:count] {
				wantText(t, event, i)
				if times[k] < uint64(before.UnixNano()) {
					t.Errorf("event %d was recorded at %d", i, times[k])
				}
				i++
			}
		}
		if _, err := replay.TryNextBatch(events, nil); !errors.Is(err, railbus.ErrEndOfJournal) {
			t.Errorf("a batch behind the end: %v", err)
		}
		if _, err := replay.NextBatch(background, events, times[:1]); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("32 events, and the time of one: %v", err)
		}
		// Events after the end are found by looking again.
		position := publishTyped(t, publisher, 100)
		must(channel.WaitWritten(soon(t), position))(t)
		record := must(replay.Next(soon(t)))(t)
		wantText(t, record.Event, 100)
		check(t, recorder.Stop())
		if err := recorder.Stop(); !errors.Is(err, railbus.ErrClosed) {
			t.Errorf("stopped twice: %v", err)
		}
		if journal := must(channel.Journal())(t); journal.State != railbus.JournalStopped {
			t.Errorf("the journal of a stopped recorder is %+v", journal)
		}
		if _, err := channel.WaitDurable(soon(t), position+1<<20); !errors.Is(err, railbus.ErrPeerGone) {
			t.Errorf("waiting for what nobody records: %v", err)
		}
	})
}

func TestFollowGoesFromTheJournalIntoTheRing(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		channel, publisher, _, positions := recorded(t, options)
		for _, one := range []struct {
			start  railbus.Start
			first  int
			follow railbus.Follow
		}{
			{railbus.Oldest, 0, railbus.FollowHold},
			{railbus.At(positions[40]), 40, railbus.FollowReadJournal},
			{railbus.Since(time.Now().Add(-time.Hour)), 0, railbus.FollowHold},
		} {
			subscriber := must(channel.Subscriber(railbus.SubscriberOptions{Start: one.start, Follow: one.follow}))(t)
			ctx, next := soon(t), one.first
			for ; next < len(positions); next++ {
				wantText(t, must(subscriber.Recv(ctx))(t), next)
			}
			positions = append(positions, publishTyped(t, publisher, next))
			wantText(t, must(subscriber.Recv(ctx))(t), next)
			ending, cancel := shortly()
			if _, err := subscriber.Recv(ending); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("behind the last event: %v", err)
			}
			cancel()
			check(t, subscriber.Close())
		}
	})
}

func TestJournalsThatAreNotThere(t *testing.T) {
	channel := newChannel(t, broadcasts[1])
	if _, err := channel.Journal(); !errors.Is(err, railbus.ErrPeerGone) {
		t.Errorf("the journal of a channel that was never recorded: %v", err)
	}
	if _, err := channel.WaitDurable(background, 0); !errors.Is(err, railbus.ErrPeerGone) {
		t.Errorf("waiting for it: %v", err)
	}
	if _, err := channel.Subscriber(railbus.SubscriberOptions{Follow: railbus.FollowHold}); !errors.Is(err, railbus.ErrPeerGone) {
		t.Errorf("following it: %v", err)
	}
	if _, err := railbus.OpenReplay(t.TempDir(), railbus.ReplayOptions{}); !errors.Is(err, railbus.ErrNotFound) {
		t.Errorf("replaying a directory without one: %v", err)
	}
	for _, wrong := range []railbus.RecorderOptions{{SyncInterval: -1}, {KeepFor: -1}, {SegmentBytes: 5000}, {Sync: 77}} {
		if _, err := channel.Record(t.TempDir(), wrong); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("recorded with %+v: %v", wrong, err)
		}
	}
}

func TestOneRecorderAtATime(t *testing.T) {
	channel, _, _, _ := recorded(t, broadcasts[0])
	if _, err := channel.Record(t.TempDir(), smallJournal); !errors.Is(err, railbus.ErrBusy) {
		t.Errorf("a second recorder: %v", err)
	}
}

// A replay that waits for its next event, which was recorded long after, is ended by its context and by
// Close.
func TestReplaysThatWait(t *testing.T) {
	channel, _, _, _ := recorded(t, broadcasts[0])
	journal := must(channel.Journal())(t)
	slow := must(railbus.OpenReplay(journal.Directory, railbus.ReplayOptions{Rate: 0.001}))(t)
	must(slow.Next(soon(t)))(t)
	if _, err := slow.TryNext(); err != railbus.ErrEmpty {
		t.Errorf("an event that is not due: %v", err)
	}
	ctx, cancel := shortly()
	defer cancel()
	if _, err := slow.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("until a deadline: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := slow.NextBatch(background, make([]railbus.Event, 4), nil)
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	check(t, slow.Close())
	if err := <-ended; !errors.Is(err, railbus.ErrClosed) {
		t.Errorf("closed while it waited: %v", err)
	}
	for name, call := range map[string]func() error{
		"Next":         func() error { _, err := slow.Next(background); return err },
		"TryNext":      func() error { _, err := slow.TryNext(); return err },
		"NextBatch":    func() error { _, err := slow.NextBatch(background, make([]railbus.Event, 4), nil); return err },
		"TryNextBatch": func() error { _, err := slow.TryNextBatch(make([]railbus.Event, 4), nil); return err },
		"Close":        slow.Close,
	} {
		if err := call(); !errors.Is(err, railbus.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestReplayingAllocatesNothing(t *testing.T) {
	channel, _, _, _ := recorded(t, broadcasts[0])
	journal := must(channel.Journal())(t)
	replay := must(railbus.OpenReplay(journal.Directory, railbus.ReplayOptions{Repeat: true}))(t)
	defer replay.Close()
	events, times := make([]railbus.Event, 16), make([]uint64, 16)
	allocations := testing.AllocsPerRun(100, func() {
		record, err := replay.Next(background)
		if err != nil {
			t.Fatal(err)
		}
		sink += record.RecordedNS
		if _, err := replay.NextBatch(background, events, times); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v times", allocations)
	}
}

func init() { roles["recorder"] = record }

// record records a channel and publishes to it. It waits until each event is written, and prints its
// position.
func record(arguments []string) error {
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	if _, err := channel.Record(arguments[1], smallJournal); err != nil {
		return err
	}
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		return err
	}
	for i := uint64(0); ; i++ {
		position, err := publisher.Publish(background, binary.LittleEndian.AppendUint64(nil, i))
		if err != nil {
			return err
		}
		if _, err := channel.WaitWritten(background, position); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// Events that were written before the recording process was killed are there: all that it printed, in
// order.
func TestWhatWasWrittenSurvivesAKill(t *testing.T) {
	channel := newChannel(t, broadcasts[0])
	journals := t.TempDir()
	other := start(t, "recorder", busName(t), journals)
	for i := range 200 {
		other.says(t, fmt.Sprint(i))
	}
	other.kill(t)
	if journal := must(channel.Journal())(t); journal.State != railbus.JournalDead {
		t.Errorf("the journal of a dead recorder is %+v", journal)
	}
	recorder := must(channel.Record(journals, smallJournal))(t)
	check(t, recorder.Stop())
	replay := must(railbus.OpenReplay(must(channel.Journal())(t).Directory, railbus.ReplayOptions{}))(t)
	defer replay.Close()
	events := uint64(0)
	for record, err := range replay.Records(soon(t)) {
		check(t, err)
		if found := binary.LittleEndian.Uint64(record.Payload()); found != events {
			t.Fatalf("event %d is %d", events, found)
		}
		events++
	}
	if events < 200 {
		t.Errorf("%d events are in the journal, 200 were said to be", events)
	}
}

func init() { roles["adder"] = adder }

// adder adds up the type ids of events and saves after every 10th. It is killed after it has changed its
// state and before it saves it, when it has seen as many events as its argument requires. It prints the
// sum of all.
func adder(arguments []string) error {
	dies, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	checkpoint, saved, err := channel.Checkpoint("sum")
	if err != nil {
		return err
	}
	var seen, sum int
	if saved.Number > 0 {
		if _, err := fmt.Sscan(string(saved.State), &seen, &sum); err != nil {
			return err
		}
	}
	options := railbus.SubscriberOptions{Start: railbus.At(saved.Position), Follow: railbus.FollowHold}
	subscriber, err := channel.Subscriber(options)
	if err != nil {
		return err
	}
	for seen < 100 {
		event, err := subscriber.Recv(context.Background())
		if err != nil {
			return err
		}
		if seen%10 == 0 {
			if err := checkpoint.Save(event.Position(), fmt.Append(nil, seen, " ", sum)); err != nil {
				return err
			}
		}
		sum += int(event.TypeID())
		if seen++; seen == dies {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			hang()
		}
	}
	fmt.Println(sum)
	return nil
}

func TestAConsumerThatIsKilledGoesOnWithTheStateAndPositionItSaved(t *testing.T) {
	channel, _, _, positions := recorded(t, railbus.ChannelOptions{Kind: railbus.Stream})
	for _, dies := range []int{3, 10, 11, 45, 99} {
		killed := start(t, "adder", busName(t), strconv.Itoa(dies))
		err := killed.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the consumer that dies at event %d: %v", dies, err)
		}
	}
	last := start(t, "adder", busName(t), "0")
	last.says(t, "150")
	check(t, last.Wait())
	checkpoint, saved, err := channel.Checkpoint("sum")
	check(t, err)
	defer checkpoint.Close()
	if string(saved.State) != "90 133" || saved.Position != positions[90] || saved.Incarnation != 1 || saved.When.IsZero() {
		t.Errorf("saved is %q at %d, %+v", saved.State, saved.Position, saved)
	}
	if _, _, err := channel.Checkpoint("sum"); !errors.Is(err, railbus.ErrBusy) {
		t.Errorf("a name that is in use: %v", err)
	}
	if _, _, err := channel.Checkpoint("../sum"); !errors.Is(err, railbus.ErrInvalid) {
		t.Errorf("a name that is none: %v", err)
	}
	check(t, checkpoint.Save(7, nil))
	check(t, checkpoint.Close())
	if err := checkpoint.Close(); !errors.Is(err, railbus.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	if err := checkpoint.Save(8, nil); !errors.Is(err, railbus.ErrClosed) {
		t.Errorf("a Save after Close: %v", err)
	}
	again, empty, err := channel.Checkpoint("sum")
	check(t, err)
	check(t, again.Close())
	if len(empty.State) != 0 || empty.Position != 7 || empty.Number != saved.Number+1 {
		t.Errorf("an empty state is %+v", empty)
	}
	bus := newBus(t)
	other := must(bus.Create("other", railbus.ChannelOptions{Kind: railbus.Stream}))(t)
	defer other.Close()
	defer bus.Remove("other")
	if _, _, err := other.Checkpoint("sum"); !errors.Is(err, railbus.ErrPeerGone) {
		t.Errorf("a channel that nothing has recorded: %v", err)
	}
}
