package railbus_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"railbus"
)

// publishedAndRecorded publishes events to a journaled channel before anybody records it, and then
// records it.
func publishedAndRecorded(t *testing.T, channel *railbus.Channel, publish func(payload []byte), events int) string {
	t.Helper()
	for i := range events {
		publish(text(i))
	}
	journals := t.TempDir()
	check(t, must(channel.Record(journals, smallJournal))(t).Stop())
	return filepath.Join(journals, channel.Header().Bus, channel.Header().Name)
}

func TestAJournaledChannelIsRecordedFromItsFirstEvent(t *testing.T) {
	bus := newBus(t)
	lossy := railbus.ChannelOptions{Kind: railbus.Topic, Journaled: true, Overflow: railbus.OverflowLossyReaders}
	if _, err := bus.Create("lossy", lossy); !errors.Is(err, railbus.ErrInvalid) {
		t.Errorf("a journaled channel of lossy readers: %v", err)
	}
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream, Journaled: true})
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
	defer publisher.Close()
	journal := publishedAndRecorded(t, channel, func(payload []byte) { must(publisher.TryPublish(payload))(t) }, 50)
	replay := must(railbus.OpenReplay(journal, railbus.ReplayOptions{}))(t)
	defer replay.Close()
	for i := range 50 {
		wantText(t, must(replay.Next(soon(t)))(t).Event, i)
	}
}

func TestAJournalThatWasSetAsideIsAdopted(t *testing.T) {
	bus := newBus(t)
	channel := must(bus.Create("jobs", railbus.ChannelOptions{Kind: railbus.Queue, Journaled: true}))(t)
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	journal := publishedAndRecorded(t, channel, func(payload []byte) { must(producer.TryPublish(payload))(t) }, 3)
	aside := journal + "~1f3a9c02"
	check(t, os.Rename(journal, aside))
	if _, err := bus.Adopt(aside); !errors.Is(err, railbus.ErrBusy) {
		t.Errorf("the channel is there: %v", err)
	}
	check(t, producer.Close())
	check(t, channel.Close())
	check(t, bus.Remove("jobs"))
	again := must(bus.Adopt(aside))(t)
	defer again.Close()
	if snapshot := must(again.Snapshot())(t); snapshot.Unfinished != 3 {
		t.Errorf("%d are not done", snapshot.Unfinished)
	}
}

func init() { roles["truncated"] = truncated }

// truncated publishes to a channel after it has truncated its file.
func truncated(arguments []string) error {
	if arguments[1] == "told" {
		if err := railbus.EndIfTruncated(77); err != nil {
			return err
		}
	}
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		return err
	}
	if err := os.Truncate(arguments[2], 0); err != nil {
		return err
	}
	_, err = publisher.TryPublish([]byte("x"))
	return err
}

func TestATruncatedFileEndsTheProcessAsItWasTold(t *testing.T) {
	newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream})
	ring := filepath.Join(os.Getenv("RAILBUS_DIR"), busName(t), "channel.ring")
	command := exec.Command(os.Args[0], busName(t), "told", ring)
	command.Env = append(os.Environ(), "RAILBUS_TEST_ROLE=truncated")
	told, err := command.CombinedOutput()
	if command.ProcessState.ExitCode() != 77 || !strings.Contains(string(told), "channel.ring") {
		t.Errorf("it ended with %v: %s", err, told)
	}
}
