package railbus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"railbus"
)

// open is a new channel of the bus "examples".
func open(name string, options railbus.ChannelOptions) *railbus.Channel {
	bus, err := railbus.Open("examples")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	if err := bus.Remove(name); err != nil && !errors.Is(err, railbus.ErrNotFound) {
		log.Fatal(err)
	}
	channel, err := bus.Create(name, options)
	if err != nil {
		log.Fatal(err)
	}
	return channel
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	bus, err := railbus.Open("examples")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	ticks, err := bus.CreateOrAttach("ticks", railbus.ChannelOptions{Kind: railbus.Stream})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Remove("ticks")
	defer ticks.Close()

	subscriber, err := ticks.Subscriber(railbus.SubscriberOptions{}) // usually in another process
	if err != nil {
		log.Fatal(err)
	}
	defer subscriber.Close()
	publisher, err := ticks.Publisher(railbus.SenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()

	if _, err := publisher.Publish(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	event, err := subscriber.Recv(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s at position %d\n", event.Payload(), event.Position())
	// Output: hello at position 0
}

// A worker handles each event of a queue, and reports the result.
func ExampleWorker() {
	ctx := context.Background()
	jobs := open("jobs", railbus.ChannelOptions{Kind: railbus.Queue, MaxAttempts: 3})
	defer jobs.Close()
	worker, err := jobs.Worker(railbus.WorkerOptions{UntilClosed: true})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Close()
	producer, err := jobs.Producer(railbus.SenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if _, err := producer.Publish(ctx, []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	producer.Close()

	for job, err := range worker.Jobs(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if string(job.Payload()) == "one" && job.Attempt() == 1 {
			fmt.Println("one goes back")
			err = worker.Retry(job)
		} else {
			fmt.Printf("%s is done, attempt %d\n", job.Payload(), job.Attempt())
			err = worker.Done(job)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	// Unordered output:
	// one goes back
	// one is done, attempt 2
	// two is done, attempt 1
}

// The loop ends when the last publisher has left and everything was read.
func ExampleSubscriber_Events() {
	ctx := context.Background()
	words := open("words", railbus.ChannelOptions{Kind: railbus.Topic})
	defer words.Close()
	subscriber, err := words.Subscriber(railbus.SubscriberOptions{UntilClosed: true})
	if err != nil {
		log.Fatal(err)
	}
	defer subscriber.Close()
	publisher, err := words.Publisher(railbus.SenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := publisher.PublishBatch(ctx, [][]byte{[]byte("a"), []byte("few"), []byte("words")}); err != nil {
		log.Fatal(err)
	}
	publisher.Close()

	for event, err := range subscriber.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d: %s\n", event.Position(), event.Payload())
	}
	// Output:
	// 0: a
	// 1: few
	// 2: words
}

// An event is written where it will be read, without a copy.
func ExampleClaim() {
	ctx := context.Background()
	frames := open("frames", railbus.ChannelOptions{Kind: railbus.Stream})
	defer frames.Close()
	subscriber, err := frames.Subscriber(railbus.SubscriberOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer subscriber.Close()
	publisher, err := frames.Publisher(railbus.SenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()

	claim, err := publisher.Claim(ctx, 64)
	if err != nil {
		log.Fatal(err)
	}
	written := copy(claim.Payload(), "no copy of this is made")
	if _, err := claim.Commit(written); err != nil {
		log.Fatal(err)
	}
	event, err := subscriber.Recv(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", event.Payload())
	// Output: no copy of this is made
}

// Errors describe the failure in words; errors.Is distinguishes them.
func ExampleError() {
	bus, err := railbus.Open("examples")
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	_, err = bus.Attach("nowhere")
	fmt.Println(errors.Is(err, railbus.ErrNotFound))

	var failure *railbus.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Code.String())
	}
	// Output:
	// true
	// NOT_FOUND
}

// A lossy subscriber never holds the publisher back, and learns exactly which events it lost.
func ExampleGap() {
	ctx := context.Background()
	samples := open("samples", railbus.ChannelOptions{Kind: railbus.Topic, Slots: 64})
	defer samples.Close()
	subscriber, err := samples.Subscriber(railbus.SubscriberOptions{Lossy: true})
	if err != nil {
		log.Fatal(err)
	}
	defer subscriber.Close()
	publisher, err := samples.Publisher(railbus.SenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer publisher.Close()
	for i := range byte(100) {
		if _, err := publisher.Publish(ctx, []byte{i}); err != nil {
			log.Fatal(err)
		}
	}

	_, err = subscriber.Recv(ctx)
	var failure *railbus.Error
	if errors.Is(err, railbus.ErrLost) && errors.As(err, &failure) {
		event, err := subscriber.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("lost as many as said:", uint64(event.Payload()[0]) == failure.Lost.Events)
	}
	// Output: lost as many as said: true
}

func ExampleTable() {
	state := open("state", railbus.ChannelOptions{Kind: railbus.TableKind, Keys: 100, ValueBytes: 64})
	defer state.Close()
	table, err := state.Table(railbus.TableOptions{Name: "feed"})
	if err != nil {
		log.Fatal(err)
	}
	defer table.Close()
	bid := railbus.TextKey("bid")
	version, err := table.Set(bid, []byte("41.5"))
	if err != nil {
		log.Fatal(err)
	}
	// Only if nobody else has changed it since.
	if _, err := table.CompareAndSet(bid, version, []byte("42")); err != nil {
		log.Fatal(err)
	}
	changes, err := table.TryChanges()
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range changes {
		fmt.Printf("%v is %s, version %d\n", change.Key, change.Bytes, change.Version)
	}
	// Output: bid is 42, version 2
}
