package railbus_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"railbus"
)

func TestErrorsAreThoseOfTheHeader(t *testing.T) {
	header := must(os.ReadFile("../../ffi/include/railbus.h"))(t)
	defined := regexp.MustCompile(`(?m)^#define RAILBUS_([A-Z_]+) (-?\d+)$`).FindAllStringSubmatch(string(header), -1)
	found := 0
	begun := false
	for _, define := range defined {
		name, value := define[1], must(strconv.Atoi(define[2]))(t)
		begun = begun || name == "OK"
		if !begun || name == "MESSAGE_BYTES" {
			break
		}
		found++
		if symbol := railbus.Code(value).String(); symbol != name {
			t.Errorf("code %d is %s in the header, %s here", value, name, symbol)
		}
		if value != 0 && !strings.HasPrefix(railbus.Code(value).Error(), "railbus: ") {
			t.Errorf("code %d is not described: %q", value, railbus.Code(value).Error())
		}
	}
	if found < 30 {
		t.Errorf("the header has %d codes: were they looked for in the right place?", found)
	}
}

func TestErrorsAreWhatTheStandardLibraryCallsThem(t *testing.T) {
	bus := newBus(t)
	_, err := bus.Attach("nowhere")
	if !errors.Is(err, railbus.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		t.Errorf("a missing channel: %v", err)
	}
	var failure *railbus.Error
	if !errors.As(err, &failure) || failure.Code != railbus.ErrNotFound || !strings.Contains(failure.Message, "nowhere") {
		t.Errorf("a missing channel, in words: %#v", failure)
	}
	var code railbus.Code
	if !errors.As(fmt.Errorf("while testing: %w", err), &code) || code != railbus.ErrNotFound {
		t.Errorf("the code of a wrapped error: %v", code)
	}
	for code, standard := range map[railbus.Code]error{
		railbus.ErrExists: fs.ErrExist, railbus.ErrNotAllowed: fs.ErrPermission, railbus.ErrClosed: fs.ErrClosed,
		railbus.ErrTimedOut: os.ErrDeadlineExceeded, railbus.ErrEnded: io.EOF,
	} {
		if !errors.Is(&railbus.Error{Code: code}, standard) {
			t.Errorf("%v is not %v", code, standard)
		}
	}
}

func TestBusListsAndRemovesChannels(t *testing.T) {
	bus := newBus(t)
	if names, err := bus.List(); !errors.Is(err, railbus.ErrNotFound) {
		t.Errorf("a bus that nobody has made lists %q, %v", names, err)
	}
	// More than the first guess of the length of all names.
	var wanted []string
	for i := range 50 {
		name := fmt.Sprintf("%02d-%s", i, strings.Repeat("ä", 45))
		wanted = append(wanted, name)
		channel := must(bus.Create(name, railbus.ChannelOptions{Kind: railbus.Topic, Slots: 64, SlotBytes: 64}))(t)
		check(t, channel.Close())
	}
	if names := must(bus.List())(t); !slices.Equal(names, wanted) {
		t.Errorf("the bus lists %q", names)
	}
	for _, name := range wanted {
		check(t, bus.Remove(name))
	}
	if names := must(bus.List())(t); len(names) != 0 {
		t.Errorf("a bus whose channels were removed lists %q", names)
	}
	if err := bus.Remove(wanted[0]); !errors.Is(err, railbus.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestOpenInAnotherDirectory(t *testing.T) {
	directory := must(os.MkdirTemp("/dev/shm", "railbus-go-other-"))(t)
	t.Cleanup(func() { os.RemoveAll(directory) })
	bus := must(railbus.OpenIn(directory, "other"))(t)
	defer bus.Close()
	channel := must(bus.Create("here", railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 4096}))(t)
	check(t, channel.Close())
	if _, err := os.Stat(directory + "/other"); err != nil {
		t.Error(err)
	}
}

func TestHeaderSaysWhatTheCreatorDecided(t *testing.T) {
	bus := newBus(t)
	group, owner := uint32(os.Getgid()), uint32(os.Getuid())
	id := [16]byte{1, 2, 3}
	options := railbus.ChannelOptions{
		Kind: railbus.Queue, Slots: 128, SlotBytes: 512, Overflow: railbus.OverflowDropNewest, Stamp: true,
		ProducersMax: 5, ConsumersMax: 6, Pages: railbus.PagesOrdinary, NoMemoryLock: true, MaxAttempts: 7,
		DeadLetters: "cemetery", StuckAfter: 3 * time.Second, FirstPosition: 1000, Incarnation: 4, ChannelID: &id,
		Access: railbus.Access{RingMode: 0o640, AcksMode: 0o660, Owner: &owner, RingGroup: &group, AcksGroup: &group},
	}
	channel := must(bus.Create("channel", options))(t)
	defer channel.Close()
	header := channel.Header()
	wanted := railbus.Header{
		Bus: busName(t), Name: "channel", Kind: railbus.Queue, Overflow: railbus.OverflowDropNewest, Stamp: true,
		PayloadMax: header.PayloadMax, CapacityBytes: header.CapacityBytes, Slots: 128, SlotBytes: 512,
		PageBytes: uint64(os.Getpagesize()), NUMANode: -1, ProducersMax: 5, ConsumersMax: 6, MaxAttempts: 7,
		DeadLetters: "cemetery", StuckAfter: 3 * time.Second, FirstPosition: 1000, Created: header.Created,
		CreatorPID: os.Getpid(), ChannelID: id, Incarnation: 4,
	}
	if header != wanted {
		t.Errorf("the header is\n%+v, wanted\n%+v", header, wanted)
	}
	if age := time.Since(header.Created); age < 0 || age > time.Minute {
		t.Errorf("made %v ago", age)
	}
	snapshot := must(channel.Snapshot())(t)
	if snapshot.RingMode&0o777 != 0o640 || snapshot.AcksMode&0o777 != 0o660 || snapshot.Published != 1000 {
		t.Errorf("the snapshot is %+v", snapshot)
	}
}

func TestSnapshotTellsWhoIsThere(t *testing.T) {
	publisher, subscriber := pair(t, railbus.ChannelOptions{Kind: railbus.Topic, Slots: 64},
		railbus.SubscriberOptions{Name: "reader"})
	channel := must(must(railbus.Open(busName(t)))(t).Attach("channel"))(t)
	defer channel.Close()
	for range 3 {
		must(publisher.TryPublish([]byte("event")))(t)
	}
	must(subscriber.TryRecv())(t)
	snapshot := must(channel.Snapshot())(t)
	if snapshot.Published != 3 || snapshot.Capacity != 64 || snapshot.Head != railbus.None {
		t.Errorf("the snapshot is %+v", snapshot)
	}
	var names []string
	for _, one := range snapshot.Participants {
		if one.PID != os.Getpid() || one.Life != railbus.Alive {
			t.Errorf("a participant of another process, or dead: %+v", one)
		}
		names = append(names, fmt.Sprint(one.Side, one.Role, one.Name))
	}
	slices.Sort(names)
	wanted := []string{
		fmt.Sprint(railbus.Producers, railbus.RoleProducer, ""),
		fmt.Sprint(railbus.Consumers, railbus.RoleSubscriber, "reader"),
	}
	if !slices.Equal(names, wanted) {
		t.Errorf("the participants are %q, wanted %q", names, wanted)
	}
	if readers := must(publisher.Readers())(t); readers != 1 {
		t.Errorf("%d readers", readers)
	}
	repaired := must(channel.Repair())(t)
	if repaired != (railbus.Repaired{}) {
		t.Errorf("repaired where all live: %+v", repaired)
	}
}

func TestWrongKindsAreRefused(t *testing.T) {
	bus := newBus(t)
	stream := must(bus.Create("stream", railbus.ChannelOptions{Kind: railbus.Stream}))(t)
	defer stream.Close()
	queue := must(bus.Create("queue", railbus.ChannelOptions{Kind: railbus.Queue}))(t)
	defer queue.Close()
	for name, open := range map[string]func() (io.Closer, error){
		"a Producer of a stream":    func() (io.Closer, error) { return stream.Producer(railbus.SenderOptions{}) },
		"a Tap of a stream":         func() (io.Closer, error) { return stream.Tap(railbus.SubscriberOptions{}) },
		"a Worker of a stream":      func() (io.Closer, error) { return stream.Worker(railbus.WorkerOptions{}) },
		"a Publisher of a queue":    func() (io.Closer, error) { return queue.Publisher(railbus.SenderOptions{}) },
		"a Subscriber of a queue":   func() (io.Closer, error) { return queue.Subscriber(railbus.SubscriberOptions{}) },
		"a wait of a negative time": func() (io.Closer, error) { return queue.Worker(railbus.WorkerOptions{Wait: railbus.Wait{Spin: -1}}) },
	} {
		if _, err := open(); !errors.Is(err, railbus.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
