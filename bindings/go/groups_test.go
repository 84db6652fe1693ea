package railbus_test

import (
	"errors"
	"testing"
	"time"

	"railbus"
)

// taken returns the payloads of the events that the worker gets at once, and its jobs.
func taken(t *testing.T, worker *railbus.Worker) (string, []railbus.Job) {
	t.Helper()
	var all string
	var jobs []railbus.Job
	for {
		job, err := worker.TryTake()
		if errors.Is(err, railbus.ErrEmpty) {
			return all, jobs
		}
		check(t, err)
		all += string(job.Payload())
		jobs = append(jobs, job)
	}
}

func TestEventsOfAKeyAreWorkedOnOneAfterTheOther(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Queue, Keyed: true})
	if !channel.Header().Keyed {
		t.Error("the channel is not keyed")
	}
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	defer producer.Close()
	one := must(channel.Worker(railbus.WorkerOptions{}))(t)
	defer one.Close()
	two := must(channel.Worker(railbus.WorkerOptions{}))(t)
	defer two.Close()
	for _, name := range []string{"a", "b", "c"} {
		attributes := railbus.Attributes{Has: railbus.HasKey, Key: 7}
		if name == "c" {
			attributes.Key = 1<<64 - 1
		}
		must(producer.TryPublishWith([]byte(name), attributes))(t)
	}
	first := must(one.TryTake())(t)
	if attributes := first.Attributes(); string(first.Payload()) != "a" || attributes.Key != 7 {
		t.Errorf("the first is %q with %+v", first.Payload(), attributes)
	}
	found, jobs := taken(t, two)
	if found != "c" || jobs[0].Attributes().Key != 1<<64-1 {
		t.Errorf("beside a there is %q", found)
	}
	check(t, one.Done(first))
	if found, _ := taken(t, two); found != "b" {
		t.Errorf("behind a comes %q", found)
	}
}

func TestAWorkerOfALowerLevelGetsWhatTheOneAboveCannotTake(t *testing.T) {
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.Queue, StuckAfter: 10 * time.Minute})
	producer := must(channel.Producer(railbus.SenderOptions{}))(t)
	defer producer.Close()
	high := must(channel.Worker(railbus.WorkerOptions{InHandMax: 1}))(t)
	defer high.Close()
	low := must(channel.Worker(railbus.WorkerOptions{Priority: 1}))(t)
	defer low.Close()
	must(producer.TryPublish([]byte("a")))(t)
	must(producer.TryPublish([]byte("b")))(t)
	if found, _ := taken(t, low); found != "" {
		t.Errorf("the low one gets %q", found)
	}
	must(high.TryTake())(t)
	if _, err := high.TryTake(); !errors.Is(err, railbus.ErrBusy) {
		t.Errorf("with its hands full: %v", err)
	}
	if job := must(low.TryTake())(t); string(job.Payload()) != "b" {
		t.Errorf("the low one gets %q", job.Payload())
	}
}
