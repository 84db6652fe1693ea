// Package railbus carries events between the processes of one Linux host through shared memory, at the
// speed of the cache-coherence protocol. Any process may be killed at any instruction, and the others go
// on.
//
// A [Bus] is a named set of channels. A [Channel] is a [Stream] (one publisher, every subscriber sees
// every event), a [Queue] (many producers, each event goes to one of many workers) or a [Topic] (many
// publishers, every subscriber sees all events in one order). A [Publisher] or [Producer] publishes, a
// [Subscriber] receives, a [Worker] takes.
//
//	bus, err := railbus.Open("demo")
//	ticks, err := bus.CreateOrAttach("ticks", railbus.ChannelOptions{Kind: railbus.Stream})
//	subscriber, err := ticks.Subscriber(railbus.SubscriberOptions{}) // usually in another process
//	publisher, err := ticks.Publisher(railbus.SenderOptions{})
//
//	position, err := publisher.Publish(ctx, []byte("hello"))
//	event, err := subscriber.Recv(ctx)
//	fmt.Printf("%s at position %d\n", event.Payload(), event.Position())
//
// # In place
//
// Events are not copied. An [Event] says where one lies in shared memory, and may be used until the next
// call on its subscriber, like the bytes of a bufio.Scanner. A [Claim] is room in the ring that the
// publisher writes to.
//
// # Waiting
//
// Calls that may wait take a context. When it is done, the wait ends within some 50 ms with the context's
// error, and with nothing published or received. A context that is done before the call ends it at once.
// Functions that begin with Try never wait.
//
// # Speed
//
// A call costs as much as cgo, and some 20 ns. Batches ([Subscriber.RecvBatch], [Subscriber.RecvInto],
// Publisher.PublishBatch, Publisher.PublishStrided) cost one call for many events. No call that
// publishes, receives or takes allocates.
//
// # Goroutines
//
// Handles may go from thread to thread; runtime.LockOSThread is not needed. A Bus, Channel, Bridge,
// Publisher, Producer or Worker may be used by several goroutines, which take turns. A Subscriber or
// Replay is for one goroutine, because each call takes back the events of the last one; but another
// goroutine may close it.
//
// # Journals
//
// A [Recorder] keeps published events on disk; [Channel.WaitDurable] waits until an event is there. A
// [Replay] reads the journal, and a subscriber with Follow goes on from there into the ring.
//
// # Closing
//
// Close handles that you open, with defer. A forgotten handle is closed after the garbage collector has
// found it, if ever. Until then a forgotten Subscriber holds publishers back. A closed handle returns
// [ErrClosed].
//
// # Linking
//
// The package links librailbus statically, which pkg-config finds by the name of railbus-static: see
// docs/GO.md.
package railbus
