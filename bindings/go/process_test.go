package railbus_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"railbus"
)

func init() {
	roles["claimer"] = claimer
	roles["holder"] = holder
	roles["parent"] = parent
	roles["counter"] = counter
}

func hang() { time.Sleep(time.Hour) }

func attachTo(bus string) (*railbus.Channel, error) {
	opened, err := railbus.Open(bus)
	if err != nil {
		return nil, err
	}
	return opened.Attach("channel")
}

// claimer publishes three events, claims room for a fourth, and reports that.
func claimer(arguments []string) error {
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		return err
	}
	for i := range 3 {
		if _, err := publisher.TryPublish(text(i)); err != nil {
			return err
		}
	}
	claim, err := publisher.TryClaim(100)
	if err != nil {
		return err
	}
	copy(claim.Payload(), "half of an ev")
	fmt.Println("claimed")
	hang()
	return nil
}

func TestAPublisherThatIsKilledLeavesNoHalfEvent(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		channel := newChannel(t, options)
		subscriber := must(channel.Subscriber(railbus.SubscriberOptions{}))(t)
		defer subscriber.Close()
		other := start(t, "claimer", busName(t))
		other.says(t, "claimed")
		other.kill(t)
		publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
		defer publisher.Close()
		must(publisher.TryPublish(text(3)))(t)
		for i := range 4 {
			wantText(t, must(subscriber.Recv(soon(t)))(t), i)
		}
	})
}

// holder takes two events and keeps them.
func holder(arguments []string) error {
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	worker, err := channel.Worker(railbus.WorkerOptions{})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := worker.TryTake(); err != nil {
			return err
		}
	}
	fmt.Println("taken")
	hang()
	return nil
}

func TestWhatAKilledWorkerHeldIsDeliveredAgain(t *testing.T) {
	_, producer, worker := queue(t, railbus.ChannelOptions{})
	for i := range 3 {
		must(producer.TryPublish(text(i)))(t)
	}
	other := start(t, "holder", busName(t))
	other.says(t, "taken")
	other.kill(t)
	attempts := map[string]int{}
	for range 3 {
		job := must(worker.Take(soon(t)))(t)
		attempts[string(job.Payload())] = job.Attempt()
		check(t, worker.Done(job))
	}
	for i, wanted := range []int{2, 2, 1} {
		if attempts[string(text(i))] != wanted {
			t.Errorf("event %d came with attempt %d, wanted %d", i, attempts[string(text(i))], wanted)
		}
	}
}

// parent opens everything, starts a program that outlives it, and prints the descriptors of that program.
func parent(arguments []string) error {
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		return err
	}
	subscriber, err := channel.Subscriber(railbus.SubscriberOptions{})
	if err != nil {
		return err
	}
	bridge, err := channel.Bridge()
	if err != nil {
		return err
	}
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println(child.Process.Pid)
	hang()
	runtime.KeepAlive([]any{publisher, subscriber, bridge})
	return nil
}

// A program that was started by another, and outlives it, holds nothing that belongs to it.
func TestProgramsThatWereStartedHoldNothing(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Stream})
	other := start(t, "parent", busName(t))
	if !other.lines.Scan() {
		t.Fatal("the other process said nothing")
	}
	child := must(os.FindProcess(must(parseInt(other.lines.Text()))(t)))(t)
	defer child.Kill()
	directory := fmt.Sprintf("/proc/%d/fd", child.Pid)
	for _, entry := range must(os.ReadDir(directory))(t) {
		// A descriptor may have disappeared before it is looked at.
		target, _ := os.Readlink(filepath.Join(directory, entry.Name()))
		if strings.Contains(target, os.Getenv("RAILBUS_DIR")) || strings.Contains(target, "eventfd") {
			t.Errorf("a started program has %s", target)
		}
	}
	if _, err := channel.Publisher(railbus.SenderOptions{}); !errors.Is(err, railbus.ErrBusy) {
		t.Errorf("a second publisher beside the other process: %v", err)
	}
	other.kill(t)
	publisher, err := channel.Publisher(railbus.SenderOptions{})
	if err != nil {
		t.Fatalf("the dead publisher's place is still taken: %v", err)
	}
	check(t, publisher.Close())
}

func parseInt(text string) (value int, err error) {
	_, err = fmt.Sscan(text, &value)
	return value, err
}

// Starting programs while events flow disturbs neither.
func TestEventsFlowWhileProgramsAreStarted(t *testing.T) {
	publisher, subscriber := pair(t, broadcasts[0], railbus.SubscriberOptions{})
	ctx := soon(t)
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		for range 20 {
			if output, err := exec.Command("echo", "fine").Output(); err != nil || string(output) != "fine\n" {
				failed <- fmt.Errorf("a started program said %q, %v", output, err)
				return
			}
		}
		failed <- nil
	}()
	for i := 0; ; i++ {
		must(publisher.Publish(ctx, text(i%1000)))(t)
		wantText(t, must(subscriber.Recv(ctx))(t), i%1000)
		select {
		case <-done:
			check(t, <-failed)
			return
		default:
		}
	}
}

// counter publishes numbered events as fast as it can, from the resume point of the channel on.
func counter(arguments []string) error {
	channel, err := attachTo(arguments[0])
	if err != nil {
		return err
	}
	publisher, err := channel.Publisher(railbus.SenderOptions{Name: "counter", Sequenced: true})
	if err != nil {
		return err
	}
	stats, err := publisher.Stats()
	if err != nil {
		return err
	}
	fmt.Println("counting")
	for number := stats.ResumePoint + 1; ; number++ {
		payload := binary.LittleEndian.AppendUint64(nil, number)
		if _, err := publisher.PublishNumbered(background, number, payload, railbus.Attributes{}); err != nil {
			return err
		}
	}
}

// A publisher that numbers its events is killed again and again, at any instruction: every number comes
// once.
func TestNumbersGoOnAfterKills(t *testing.T) {
	eachKind(t, func(t *testing.T, options railbus.ChannelOptions) {
		channel := newChannel(t, options)
		subscriber := must(channel.Subscriber(railbus.SubscriberOptions{}))(t)
		defer subscriber.Close()
		ctx, next := soon(t), uint64(1)
		for range 5 {
			other := start(t, "counter", busName(t))
			other.says(t, "counting")
			for until := next + 1000; next < until; next++ {
				event := must(subscriber.Recv(ctx))(t)
				if number := binary.LittleEndian.Uint64(event.Payload()); number != next {
					t.Fatalf("number %d came, wanted %d", number, next)
				}
			}
			other.kill(t)
		}
	})
}
