/*
 * railbus: events between processes of one Linux host through shared memory, at the speed of the
 * cache-coherence protocol.
 *
 * Results. Functions return RAILBUS_OK (0), a positive number for an ordinary answer of a bus at work (no event,
 * no room, events lost), or a negative one for an error. The last argument is a struct of the caller, or NULL,
 * that gets the reason in words.
 *
 * Handles (railbus_bus, railbus_channel, railbus_sender, railbus_reader, railbus_worker, railbus_table_writer,
 * railbus_table_reader, railbus_bridge, railbus_recorder, railbus_replay, railbus_checkpoint) are made by an open or start function, and each type has
 * a function that closes it. Handles are independent: closing a channel closes nothing that was opened from it. A
 * closed handle is detected (RAILBUS_CLOSED_HANDLE) until some 64 others of its type were closed after it and its
 * memory is used for another. This finds mistakes; do not rely on it.
 *
 * Threads. One thread at a time uses a sender, reader, worker, table writer, table reader, replay or checkpoint,
 * which may go from thread to thread. Several threads at once may use a bus, channel or bridge, but none while it is being closed.
 *
 * Fork. A child cannot use its parent's handles: calls return RAILBUS_FORKED; closing is allowed. It opens its own.
 *
 * Waiting. Every timeout_ns is a limit. 0 does not wait, and makes no system call except to wake a sleeper;
 * RAILBUS_FOREVER waits without end. A signal does not end a wait. A program that must check something now and
 * then (a signal handler's flag, Python, a Go context) waits in slices of, say, 50 ms, and calls again on
 * RAILBUS_TIMED_OUT.
 *
 * Views. The events that a reader returns lie in shared memory until the next call on that reader that receives,
 * releases or closes. The events that a worker took lie there until they are done, handed back, or the worker is
 * closed. The memory is read-only. The events that a replay returns lie in this process, until the next call on
 * the replay. A value that a table's reader returns is a copy, and stays until the next call on that reader.
 *
 * Journals. A recorder in a program, or the daemon `railbus journald`, writes published events to disk. Positions
 * say how far it is. Publish, and then call railbus_wait_durable; or do both at once with
 * railbus_publish_durable. railbus_replay_open reads a journal; a reader with `follow` begins there and goes on
 * into the ring.
 *
 * Structs that begin with struct_size are initialised with their INIT macros, and may grow in later versions.
 * Text is UTF-8, given as a pointer and a number of bytes, or RAILBUS_ZERO_TERMINATED in place of the number.
 *
 * Pointers must be valid for what the function does with them. Where NULL is allowed, the function's comment
 * says so.
 *
 * Generated from the Rust sources in ffi/src by `make header`; do not edit.
 */

#ifndef RAILBUS_H
#define RAILBUS_H

#include <stddef.h>
#include <stdint.h>

/**
 * The layout of shared memory that this header belongs to. Compare it with `railbus_layout_fingerprint()`.
 */
#define RAILBUS_LAYOUT_FINGERPRINT 0x1cc96e199d97fbebULL

/**
 * Version of the library that this header belongs to.
 */
#define RAILBUS_VERSION "0.1.0"

/**
 * In place of a number of bytes: the text ends with a zero byte.
 */
#define RAILBUS_ZERO_TERMINATED SIZE_MAX

/**
 * In place of a number of bytes: the key of a table is a number, a uint64_t.
 */
#define RAILBUS_NUMBER_KEY (SIZE_MAX - 1)

/**
 * Success.
 */
#define RAILBUS_OK 0

/**
 * There is no event now. Returned for a timeout of 0 only; leaves the error struct alone.
 */
#define RAILBUS_EMPTY 1

/**
 * There is no room now; nothing was published. Returned for a timeout of 0 only; leaves the error
 * struct alone.
 */
#define RAILBUS_FULL 2

/**
 * The timeout passed: no event came, or there was no room. Leaves the error struct alone when the
 * call waited for events or room.
 */
#define RAILBUS_TIMED_OUT 3

/**
 * The event was counted as dropped. The channel is full, and its creator chose to drop the newest
 * event, or to divert events to a channel where there is no room either.
 */
#define RAILBUS_DROPPED 4

/**
 * Events are missing: exactly those from `lost_from` up to `lost_to` of the error struct. The next
 * call goes on after them.
 */
#define RAILBUS_LOST 5

/**
 * The last publisher has left and everything was read. Only for readers and workers opened with
 * `RAILBUS_UNTIL_CLOSED`.
 */
#define RAILBUS_CLOSED 6

/**
 * The channel has an event of this publisher with this number, or a higher one, already. The event
 * was not published.
 */
#define RAILBUS_PUBLISHED_BEFORE 7

/**
 * A replay has come to its end.
 */
#define RAILBUS_END 8

/**
 * The channel is full, and its creator chose to divert: the event is in the other channel, and not
 * in this one.
 */
#define RAILBUS_DIVERTED 9

/**
 * The key of a table has no value. Leaves the error struct alone.
 */
#define RAILBUS_ABSENT 12

/**
 * The key of a table is not of the version that the caller has seen. Nothing was changed.
 */
#define RAILBUS_CHANGED 13

/**
 * An argument is out of its range, or contradicts another.
 */
#define RAILBUS_INVALID -1

/**
 * There is no such bus, channel, participant or journal.
 */
#define RAILBUS_NOT_FOUND -2

/**
 * It exists already although it was to be created, or it is of another kind or size.
 */
#define RAILBUS_EXISTS -3

/**
 * The rights of this process do not allow it.
 */
#define RAILBUS_NOT_ALLOWED -4

/**
 * The channel was made by a version of railbus with another layout.
 */
#define RAILBUS_LAYOUT -5

/**
 * Shared memory or a file has contents that no correct peer writes.
 */
#define RAILBUS_CORRUPT -6

/**
 * There is not enough memory or space.
 */
#define RAILBUS_NO_SPACE -7

/**
 * Huge pages were required and are not available.
 */
#define RAILBUS_NO_HUGE_PAGES -8

/**
 * Another participant has the only one: the stream's publisher, a durable name, the last registry
 * entry.
 */
#define RAILBUS_BUSY -9

/**
 * A peer that is needed is dead or has left.
 */
#define RAILBUS_PEER_GONE -10

/**
 * The handle was made before `fork`: open the channel again in the child.
 */
#define RAILBUS_FORKED -11

/**
 * The operating system refused for another reason.
 */
#define RAILBUS_IO -12

/**
 * This participant was evicted. The events that it held may have gone to another. Open it again.
 */
#define RAILBUS_EVICTED -13

/**
 * The event is larger than this channel allows.
 */
#define RAILBUS_TOO_LONG -14

/**
 * The queue is full and no worker is alive to take events.
 */
#define RAILBUS_NO_WORKER -15

/**
 * The handle was closed, or is not of this type.
 */
#define RAILBUS_CLOSED_HANDLE -16

/**
 * The buffer is too small, or has another size than the event.
 */
#define RAILBUS_WRONG_LENGTH -17

/**
 * This worker does not hold the event: it is done, was handed back, or belongs to another worker.
 */
#define RAILBUS_NOT_HELD -18

/**
 * The sender has an open claim: commit or abort it first. Or it has none: claim first.
 */
#define RAILBUS_CLAIM -19

/**
 * The header and the library are of different versions.
 */
#define RAILBUS_WRONG_VERSION -20

/**
 * The channel was removed while this participant was attached, and everything in it was read. It
 * can no longer be found. Attach again.
 */
#define RAILBUS_REMOVED -21

/**
 * The sender does not number its events: open it with a name and `RAILBUS_SEQUENCED`.
 */
#define RAILBUS_NOT_SEQUENCED -22

/**
 * The queue holds an unfinished event with this unique key. Nothing was published.
 */
#define RAILBUS_DUPLICATE -24

/**
 * The channel was made without `RAILBUS_UNIQUE`, or is no queue.
 */
#define RAILBUS_NOT_UNIQUE -25

/**
 * A bug in railbus: it panicked. The handle can only be closed.
 */
#define RAILBUS_PANIC -23

/**
 * Bytes of `railbus_error.message`.
 */
#define RAILBUS_MESSAGE_BYTES 256

/**
 * Version of the C ABI. A program that was compiled with another version does not fit this
 * library.
 */
#define RAILBUS_ABI_VERSION 1



/**
 * A timeout, in ns, that never passes. Publishing with it does what the channel's creator chose
 * for a full channel: wait, or drop the event and return `RAILBUS_DROPPED`.
 */
#define RAILBUS_FOREVER UINT64_MAX

/**
 * Wait: poll for 50 us, then sleep until woken. Uses almost no processor time while idle.
 */
#define RAILBUS_WAIT_DEFAULT 0

/**
 * Wait: poll without end. The lowest latency; it uses a whole core.
 */
#define RAILBUS_WAIT_SPIN 1

/**
 * Wait: poll for `spin_ns`, then give the processor to others between polls.
 */
#define RAILBUS_WAIT_YIELD 2

/**
 * Wait: poll for `spin_ns`, then sleep until woken.
 */
#define RAILBUS_WAIT_PARK 3

/**
 * Kind: one publisher at a time, any number of subscribers, events of any size.
 */
#define RAILBUS_STREAM 1

/**
 * Kind: many producers, many workers; each event is handled by one worker.
 */
#define RAILBUS_QUEUE 2

/**
 * Kind: many publishers, many subscribers; every subscriber sees every event, all in one order.
 */
#define RAILBUS_TOPIC 3

/**
 * Kind: the latest value of each key; many writers, any number of readers.
 */
#define RAILBUS_TABLE 4

/**
 * Overflow: publishing waits as long as the caller allows. The default.
 */
#define RAILBUS_OVERFLOW_BLOCK 1

/**
 * Overflow: publishing with `RAILBUS_FOREVER` drops the event and counts it.
 */
#define RAILBUS_OVERFLOW_DROP_NEWEST 2

/**
 * Overflow: there is always room. The channel takes lossy readers only; they lose the oldest
 * events.
 */
#define RAILBUS_OVERFLOW_LOSSY_READERS 3

/**
 * Overflow: publishing with `RAILBUS_FOREVER` publishes the event in another channel, and counts
 * it. If that channel is full as well, the event is dropped and counted.
 */
#define RAILBUS_OVERFLOW_DIVERT 4

/**
 * Pages: huge pages if the system has them, for data of at least 2 MiB. The default.
 */
#define RAILBUS_PAGES_AUTO 0

/**
 * Pages: as `RAILBUS_PAGES_AUTO`, but data below 2 MiB also get a page of hugetlbfs.
 */
#define RAILBUS_PAGES_2MIB 1

/**
 * Pages: 1 GiB of hugetlbfs, or 2 MiB if there are none.
 */
#define RAILBUS_PAGES_1GIB 2

/**
 * Pages: ordinary ones.
 */
#define RAILBUS_PAGES_ORDINARY 3

/**
 * Channel option: events carry the time at which they were published.
 */
#define RAILBUS_STAMP 1

/**
 * Channel option: creation fails unless the data get huge pages.
 */
#define RAILBUS_REQUIRE_HUGE 2

/**
 * Channel option: do not lock the channel in memory.
 */
#define RAILBUS_NO_MEMORY_LOCK 4

/**
 * Channel option: `numa_node` counts.
 */
#define RAILBUS_ON_NUMA_NODE 8

/**
 * Channel option: `owner` counts.
 */
#define RAILBUS_WITH_OWNER 16

/**
 * Channel option: `ring_group` counts.
 */
#define RAILBUS_WITH_RING_GROUP 32

/**
 * Channel option: `acks_group` counts.
 */
#define RAILBUS_WITH_ACKS_GROUP 64

/**
 * Channel option: `channel_id` counts.
 */
#define RAILBUS_WITH_CHANNEL_ID 128

/**
 * Channel option: a queue's events with the same key are handled one after the other, in order.
 */
#define RAILBUS_KEYED 256

/**
 * Channel option: the channel is made with the subscription of a journaller, so that it is
 * recorded from its first event on. Its events are kept until a recorder or `railbus journald` has
 * written them: if none runs, publishers wait when the channel is full. Not with
 * `RAILBUS_OVERFLOW_LOSSY_READERS`.
 */
#define RAILBUS_JOURNALED 512

/**
 * Channel option: a queue has unique keys, for `railbus_publish_unique`.
 */
#define RAILBUS_UNIQUE 1024

/**
 * Channel option: a queue's events that have expired are dropped and counted, also if there is a
 * dead-letter queue.
 */
#define RAILBUS_DROP_EXPIRED 2048

/**
 * The event carries the time at which it was published.
 */
#define RAILBUS_HAS_TIME 1

/**
 * The event carries a trace context.
 */
#define RAILBUS_HAS_TRACE 2

/**
 * The event carries the origin of a dead letter.
 */
#define RAILBUS_HAS_ORIGIN 4

/**
 * The event was replayed from a journal.
 */
#define RAILBUS_REPLAYED 8

/**
 * The event carries the number that its publisher gave it.
 */
#define RAILBUS_HAS_SEQUENCE 16

/**
 * The event carries a key.
 */
#define RAILBUS_HAS_KEY 32

/**
 * The event carries times or a unique key.
 */
#define RAILBUS_HAS_JOB 64

/**
 * Sender option: evict a live reader that has held this sender back, without moving, for longer
 * than the channel's `stuck_after_ns`. Durable subscriptions are never evicted. Needs the rights
 * of a consumer.
 */
#define RAILBUS_EVICT_STUCK 1

/**
 * Sender option: this sender numbers its events itself, under its name. It must have a name, and
 * no other live sender may have the same: see `railbus_publish_numbered`.
 */
#define RAILBUS_SEQUENCED 2

/**
 * The reader does not read the journal. The default.
 */
#define RAILBUS_FOLLOW_NOT 0

/**
 * The reader begins in the channel's journal and goes on into the ring. In the ring it holds
 * publishers back like any reader that is not lossy.
 */
#define RAILBUS_FOLLOW_HOLD 1

/**
 * The reader begins in the channel's journal and goes on into the ring. It never holds a publisher
 * back: if it is overrun in the ring, it goes on in the journal. Not for durable readers, and not
 * for queues.
 */
#define RAILBUS_FOLLOW_READ_JOURNAL 2

/**
 * Reader option: the subscription outlives its owner. Its cursor holds events back until a reader
 * opens with its name again.
 */
#define RAILBUS_DURABLE 1

/**
 * Reader option: the reader never holds a publisher back. It loses events instead, and reports
 * exactly which.
 */
#define RAILBUS_LOSSY 2

/**
 * Reader and worker option: receiving ends with `RAILBUS_CLOSED` when the last publisher has left
 * and everything was read (or done, for a worker).
 */
#define RAILBUS_UNTIL_CLOSED 4

/**
 * Reader option: only `railbus_acknowledge_to` moves the cursor. Events that were received and not
 * acknowledged stay in the ring, hold publishers back, and are delivered again when a durable
 * subscription resumes. Not with `RAILBUS_LOSSY`, and not for readers that follow the journal.
 */
#define RAILBUS_MANUAL 8

/**
 * Start: after everything published so far. The default.
 */
#define RAILBUS_START_LIVE 0

/**
 * Start: at the oldest event that is retained.
 */
#define RAILBUS_START_OLDEST 1

/**
 * Start: at `position`, which must be retained and the start of an event.
 */
#define RAILBUS_START_POSITION 2

/**
 * Start: at the first event recorded at `time_ns` or later. Only for readers that follow the journal.
 */
#define RAILBUS_START_TIME 3

/**
 * Start: at the last `position` events that are retained, or at all if there are fewer. Not for
 * readers that follow the journal.
 */
#define RAILBUS_START_LAST 4

/**
 * The end of an event: a worker has done it.
 */
#define RAILBUS_END_DONE 1

/**
 * The end of an event: it was delivered too often, or skipped by an operator, and moved to the
 * dead-letter queue.
 */
#define RAILBUS_END_DEAD_LETTER 2

/**
 * The end of an event: its time was over, and it was moved to the dead-letter queue.
 */
#define RAILBUS_END_EXPIRED_LETTER 3

/**
 * The end of an event: its time was over, and it was dropped.
 */
#define RAILBUS_END_EXPIRED 4

/**
 * The end of an event: an operator has discarded it.
 */
#define RAILBUS_END_PURGED 5

/**
 * The end of an event: it is finished, and its slot has been used again since, so how it ended is no
 * longer known.
 */
#define RAILBUS_END_FORGOTTEN 6



/**
 * The most bytes of a table's key.
 */
#define RAILBUS_KEY_BYTES 64

/**
 * In place of a number that does not apply.
 */
#define RAILBUS_NONE UINT64_MAX

/**
 * Side: the participants that publish.
 */
#define RAILBUS_PRODUCERS 1

/**
 * Side: the participants that receive.
 */
#define RAILBUS_CONSUMERS 2

/**
 * Role: publishes to a stream or topic, or produces into a queue.
 */
#define RAILBUS_ROLE_PRODUCER 1

/**
 * Role: reads a stream or topic.
 */
#define RAILBUS_ROLE_SUBSCRIBER 2

/**
 * Role: takes events from a queue.
 */
#define RAILBUS_ROLE_WORKER 3

/**
 * Role: reads a queue without taking events.
 */
#define RAILBUS_ROLE_TAP 4

/**
 * Life: its process is alive.
 */
#define RAILBUS_LIVE 1

/**
 * Life: its process is dead. The next process that finds what it left repairs it.
 */
#define RAILBUS_DEAD 2

/**
 * Life: a durable subscription without an owner. Its cursor holds events back.
 */
#define RAILBUS_HELD 3

/**
 * Life: its process is alive but it was evicted. Its next call reports that.
 */
#define RAILBUS_LIFE_EVICTED 4

/**
 * Participant flag: whether it is stuck is not known. It did not move while it was watched, but
 * the channel's `stuck_after` is longer than the watch.
 */
#define RAILBUS_MAY_BE_STUCK (1 << 16)

/**
 * Evicted: the reader holds nobody back any more. Its next call reports the eviction.
 */
#define RAILBUS_EVICTED_TOLD 1

/**
 * Evicted: the worker's events go to others, and its `railbus_done` is refused. Its next call
 * reports the eviction.
 */
#define RAILBUS_EVICTED_FENCED 5

/**
 * Evicted: a durable subscription without an owner was removed.
 */
#define RAILBUS_EVICTED_FORGOTTEN 2

/**
 * Evicted: the process was killed.
 */
#define RAILBUS_EVICTED_KILLED 3

/**
 * Evicted: its process was dead already.
 */
#define RAILBUS_EVICTED_DEAD 4

/**
 * Journal: its journaller is recovering the records on disk.
 */
#define RAILBUS_JOURNAL_STARTING 1

/**
 * Journal: it records.
 */
#define RAILBUS_JOURNAL_RECORDING 2

/**
 * Journal: its journaller was asked to stop, and writes the events that it still holds.
 */
#define RAILBUS_JOURNAL_DRAINING 3

/**
 * Journal: its journaller has stopped; everything that it took is durable.
 */
#define RAILBUS_JOURNAL_STOPPED 4

/**
 * Journal: the disk failed. Nothing more is recorded until a journaller starts again.
 */
#define RAILBUS_JOURNAL_POISONED 5

/**
 * Journal: its journaller is dead. The next journaller goes on from there.
 */
#define RAILBUS_JOURNAL_DEAD 6

/**
 * Sync: written blocks are made durable at once, as fast as the disk can. The default.
 */
#define RAILBUS_SYNC_ALWAYS 0

/**
 * Sync: written blocks are made durable every `sync_interval_ns`.
 */
#define RAILBUS_SYNC_INTERVAL 1

/**
 * Sync: blocks are made durable when the journal stops. If the machine dies, events that were
 * written may be lost.
 */
#define RAILBUS_SYNC_NEVER 2

/**
 * Compression of a journal: none. The default.
 */
#define RAILBUS_CODEC_NONE 0

/**
 * Compression of a journal: LZ4.
 */
#define RAILBUS_CODEC_LZ4 1

/**
 * Compression of a journal: Zstandard.
 */
#define RAILBUS_CODEC_ZSTD 2

/**
 * Recorder option: never hold a publisher back. The recorder loses events instead, exactly
 * recorded as a gap. Not for queues.
 */
#define RAILBUS_RECORD_LOSSY 1

/**
 * Recorder option: while the disk is full, drop events and record them as a gap. Without it,
 * publishers wait.
 */
#define RAILBUS_RECORD_DROP_WHEN_FULL 2

/**
 * A replay begins or ends where the journal does. The default.
 */
#define RAILBUS_AT_JOURNAL 0

/**
 * A replay begins or ends at a position.
 */
#define RAILBUS_AT_POSITION 1

/**
 * A replay begins or ends at the first event recorded at a time, in ns of CLOCK_REALTIME, or
 * later.
 */
#define RAILBUS_AT_TIME 2

/**
 * Replay option: repeat without end.
 */
#define RAILBUS_REPEAT 1

/**
 * `railbus_checkpoint_call`: takes a name, and returns the state that was saved last.
 */
#define RAILBUS_CHECKPOINT_OPEN 1

/**
 * `railbus_checkpoint_call`: saves a state and its position.
 */
#define RAILBUS_CHECKPOINT_SAVE 2

/**
 * `railbus_checkpoint_call`: gives the name back. NULL is ignored.
 */
#define RAILBUS_CHECKPOINT_CLOSE 3

/**
 * A file descriptor that becomes readable when there is something to receive. A thread of the
 * library waits in place of the reader. Its wake-up adds to the latency, so a reader that counts
 * nanoseconds should poll.
 *
 * Receive until `RAILBUS_EMPTY`, arm the bridge, wait for the descriptor, drain the bridge, and
 * start again. The descriptor of an armed bridge also becomes readable after about 100 ms without
 * an event. The receive that follows then finds changes that wake nobody, such as the death of a
 * worker that held an event, or the leaving of the last publisher. A bridge may be used by several
 * threads at once.
 */
typedef struct railbus_bridge railbus_bridge;

/**
 * A bus: a named set of channels. May be used by several threads at once.
 */
typedef struct railbus_bus railbus_bus;

/**
 * An open channel. Opening it registers no participant: senders, readers and workers are opened
 * from it, and outlive it. May be used by several threads at once.
 */
typedef struct railbus_channel railbus_channel;

/**
 * The checkpoints of one name, which belongs to this process while the handle is open. Use it in
 * one thread at a time, and not after `fork`.
 */
typedef struct railbus_checkpoint railbus_checkpoint;

/**
 * A participant that receives without taking: a subscriber of a stream or topic, or a tap of a
 * queue. Use it in one thread at a time, and not after `fork`.
 */
typedef struct railbus_reader railbus_reader;

/**
 * Records a channel, in a thread of this process. May be stopped by any thread.
 */
typedef struct railbus_recorder railbus_recorder;

/**
 * A running replay. Use it in one thread at a time, and not after `fork`. It only reads the
 * journal's files, also while they are being written, and holds nobody back.
 */
typedef struct railbus_replay railbus_replay;

/**
 * A participant that publishes: a stream's publisher, a topic's publisher, or a queue's producer.
 * Use it in one thread at a time, and not after `fork`.
 */
typedef struct railbus_sender railbus_sender;

/**
 * A reader of a table. Use it in one thread at a time, and not after `fork`.
 *
 * A read returns a whole value and its version, and never waits for a writer, also if that writer was
 * killed or stopped in the middle of a change.
 */
typedef struct railbus_table_reader railbus_table_reader;

/**
 * A writer of a table. Use it in one thread at a time, and not after `fork`.
 *
 * A key is changed by one writer at a time. A writer that finds its key held by another one waits,
 * usually for less than a microsecond. A key that a dead writer held is taken over within a
 * millisecond; its value is the one before the change or the one after it.
 */
typedef struct railbus_table_writer railbus_table_writer;

/**
 * A participant that takes events from a queue. Use it in one thread at a time, and not after
 * `fork`.
 */
typedef struct railbus_worker railbus_worker;

/**
 * A description of an error. Owned by the caller; need not be initialised. Every function takes
 * NULL instead.
 *
 * It is written when a function returns anything but `RAILBUS_OK`, `RAILBUS_EMPTY`,
 * `RAILBUS_FULL`, `RAILBUS_ABSENT`, or a `RAILBUS_TIMED_OUT` of waiting for an event, for a change or
 * for room. Those are too frequent and too clear to be described.
 */
typedef struct railbus_error {
    /**
     * The result of the function.
     */
    int32_t code;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * `RAILBUS_LOST`: the first position that is missing.
     */
    uint64_t lost_from;
    /**
     * `RAILBUS_LOST`: the first position after the gap.
     */
    uint64_t lost_to;
    /**
     * `RAILBUS_LOST`: the number of events in the gap. `RAILBUS_NONE` if the gap is in a journal
     * and the number is not known.
     */
    uint64_t lost_events;
    /**
     * The operation that failed, on which object, why, and how to correct it. UTF-8,
     * zero-terminated, cut if too long.
     */
    char message[RAILBUS_MESSAGE_BYTES];
} railbus_error;

/**
 * How to open a bus. Initialise it with `RAILBUS_BUS_OPTIONS_INIT`.
 */
typedef struct railbus_bus_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_ABI_VERSION` of the header that the program was compiled with; 0 is not checked.
     */
    uint32_t abi_version;
    /**
     * `RAILBUS_LAYOUT_FINGERPRINT` of the header; 0 is not checked.
     */
    uint64_t layout_fingerprint;
    /**
     * The directory of all buses, on tmpfs. NULL is `$RAILBUS_DIR`, or `/dev/shm/railbus` if that
     * is not set. The directory, and the channels that this process takes part in, must belong to
     * its user, to root, or to the user in `$RAILBUS_OWNER`.
     */
    const char *directory;
    /**
     * Bytes of `directory`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t directory_bytes;
    /**
     * If not 0, an exit code from 1 to 255. This *process* ends with it when it touches a
     * channel's file that was truncated. It counts for files that are opened
     * from now on. A message on standard error names the file. Nothing else runs: no exit
     * handlers, and buffered output is lost. With 0 the process ends by SIGBUS instead.
     *
     * It replaces the process's handler of SIGBUS, which still gets the signals about other
     * addresses. If several buses are opened with an exit code, the last one counts.
     */
    uint32_t truncated_exit_code;
    /**
     * Zero.
     */
    uint32_t reserved;
} railbus_bus_options;

/**
 * The options of a new channel. Initialise the struct with `RAILBUS_CHANNEL_OPTIONS_INIT` and set
 * `kind`; zero is the default of every other field.
 */
typedef struct railbus_channel_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_STREAM`, `RAILBUS_QUEUE`, `RAILBUS_TOPIC` or `RAILBUS_TABLE`.
     */
    uint32_t kind;
    /**
     * `RAILBUS_STAMP` and other channel options, or-ed together.
     */
    uint32_t flags;
    /**
     * One of `RAILBUS_OVERFLOW_`; 0 is block.
     */
    uint32_t overflow;
    /**
     * Stream: bytes, a power of two from 4 KiB to 1 TiB; 0 is 4 MiB.
     */
    uint64_t capacity_bytes;
    /**
     * Queue, topic: slots, a power of two from 64 to 2^24; 0 is 1024.
     */
    uint64_t slots;
    /**
     * Queue, topic: bytes of a slot including its header of 16 bytes, a power of two from 64 to
     * 2^20; 0 is 256.
     */
    uint64_t slot_bytes;
    /**
     * Most producers at the same time, 1 to 255; 0 is 64 (a stream has one).
     */
    uint32_t producers_max;
    /**
     * Most consumers at the same time, 1 to 255; 0 is 64.
     */
    uint32_t consumers_max;
    /**
     * One of `RAILBUS_PAGES_`.
     */
    uint32_t pages;
    /**
     * With `RAILBUS_ON_NUMA_NODE`: the NUMA node of the memory.
     */
    uint32_t numa_node;
    /**
     * Queue: deliveries before an event is a dead letter, at most 63; 0 is without limit.
     */
    uint32_t max_attempts;
    /**
     * Mode of the file that producers write, at most 0666; 0 is 0600.
     */
    uint32_t ring_mode;
    /**
     * Mode of the file that consumers write, at most 0666; 0 is 0600.
     */
    uint32_t acks_mode;
    /**
     * With `RAILBUS_WITH_OWNER`: the owner of both files.
     */
    uint32_t owner;
    /**
     * With `RAILBUS_WITH_RING_GROUP`: the group of the file that producers write.
     */
    uint32_t ring_group;
    /**
     * With `RAILBUS_WITH_ACKS_GROUP`: the group of the file that consumers write.
     */
    uint32_t acks_group;
    /**
     * When a participant that others wait for counts as stuck: 1 ms to 24 h in ns; 0 is 1 s.
     */
    uint64_t stuck_after_ns;
    /**
     * Queue with `max_attempts`: the queue of the same bus that takes dead letters. NULL is the
     * queue's name followed by ".dead". It is made if it does not exist.
     */
    const char *dead_letters;
    /**
     * Bytes of `dead_letters`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t dead_letters_bytes;
    /**
     * Position of the first event: a multiple of 8 for a stream.
     */
    uint64_t first_position;
    /**
     * How many times the same identity was made, counted from 1; 0 is 1.
     */
    uint64_t incarnation;
    /**
     * With `RAILBUS_WITH_CHANNEL_ID`: the identity of the channel that is made again; random
     * otherwise.
     */
    uint8_t channel_id[16];
    /**
     * High watermark, in percent of the capacity: from this depth on, producers are under
     * pressure; 0 is never.
     */
    uint32_t high_watermark;
    /**
     * Low watermark, in percent of the capacity, less than the high one: at this depth the
     * pressure ends.
     */
    uint32_t low_watermark;
    /**
     * Queue, topic: unfinished events that one producer may have in the ring; 0 is without limit.
     */
    uint32_t credits;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * With `RAILBUS_OVERFLOW_DIVERT`: the queue or topic of the same bus that takes the events
     * that find no room. It must exist, and have larger slots.
     */
    const char *divert_to;
    /**
     * Bytes of `divert_to`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t divert_to_bytes;
    /**
     * For `railbus_channel_create`: the directory of this channel's journal that was set aside,
     * JOURNAL/BUS/NAME~ID. It is put back in its place, and the channel is made again from it with
     * the options that it had; all other fields are ignored. The journal that was there is set
     * aside. Nothing is deleted. NULL is none.
     */
    const char *adopt;
    /**
     * Bytes of `adopt`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t adopt_bytes;
    /**
     * Queue: how long an event that was handed back waits after its second attempt, in ns, and twice
     * as long after each further one; at most 24 h. 0 is 1 ms, `RAILBUS_NONE` is not at all.
     */
    uint64_t retry_delay_ns;
    /**
     * Queue: the longest that it waits between two attempts, in ns; at most 24 h. 0 is 1 s,
     * `RAILBUS_NONE` is not at all.
     */
    uint64_t retry_delay_max_ns;
    /**
     * Table: how many keys may have a value at the same time, 1 to 2^20; 0 is 1024.
     */
    uint64_t keys;
    /**
     * Table: the most bytes of a value, a multiple of 8 up to 2^20; 0 is 64.
     */
    uint64_t value_bytes;
} railbus_channel_options;

/**
 * The options that a channel's creator chose. Initialise `struct_size` before the call that fills
 * it.
 */
typedef struct railbus_channel_header {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_STREAM`, `RAILBUS_QUEUE`, `RAILBUS_TOPIC` or `RAILBUS_TABLE`.
     */
    uint32_t kind;
    /**
     * One of `RAILBUS_OVERFLOW_`.
     */
    uint32_t overflow;
    /**
     * Whether events carry the time at which they were published: 0 or 1.
     */
    uint32_t stamp;
    /**
     * Largest payload in bytes, without a trace context or origin; the largest value of a table.
     */
    uint64_t payload_max;
    /**
     * Bytes of event data.
     */
    uint64_t capacity_bytes;
    /**
     * Slots; 0 for a stream.
     */
    uint64_t slots;
    /**
     * Bytes of a slot; 0 for a stream.
     */
    uint64_t slot_bytes;
    /**
     * Size of the pages behind the data, as the creator saw it.
     */
    uint64_t page_bytes;
    /**
     * Whether they were huge pages: 0 or 1.
     */
    uint32_t huge_pages;
    /**
     * The NUMA node the data were bound to, -1 if to none.
     */
    int32_t numa_node;
    /**
     * Most producers at the same time.
     */
    uint32_t producers_max;
    /**
     * Most consumers at the same time.
     */
    uint32_t consumers_max;
    /**
     * Queue: deliveries before an event is a dead letter; 0 is without limit.
     */
    uint32_t max_attempts;
    /**
     * The process that made the channel.
     */
    uint32_t creator_pid;
    /**
     * When a participant that others wait for counts as stuck, in ns.
     */
    uint64_t stuck_after_ns;
    /**
     * Position of the first event.
     */
    uint64_t first_position;
    /**
     * When it was made, in ns of CLOCK_REALTIME.
     */
    uint64_t created_ns;
    /**
     * How many times the same identity was made, counted from 1. (channel_id, incarnation,
     * position) identifies an event without end.
     */
    uint64_t incarnation;
    /**
     * Random identity.
     */
    uint8_t channel_id[16];
    /**
     * Name of its bus, zero-terminated.
     */
    char bus[104];
    /**
     * Name of the channel, zero-terminated.
     */
    char name[104];
    /**
     * Name of the queue that takes its dead letters, zero-terminated; empty if none.
     */
    char dead_letters[104];
    /**
     * Name of the channel that takes the events that find no room, zero-terminated; empty if none.
     */
    char divert_to[104];
    /**
     * High watermark, in percent of the capacity: from this depth on, producers are under
     * pressure; 0 is never.
     */
    uint32_t high_watermark;
    /**
     * Low watermark, in percent of the capacity: at this depth the pressure ends.
     */
    uint32_t low_watermark;
    /**
     * Unfinished events that one producer may have in the ring; 0 is without limit.
     */
    uint32_t credits;
    /**
     * Whether a queue's events with the same key are handled one after the other: 0 or 1.
     */
    uint32_t keyed;
    /**
     * Whether a queue has unique keys: 0 or 1.
     */
    uint32_t unique;
    /**
     * Whether a queue's events that have expired are dropped: 0 or 1.
     */
    uint32_t drop_expired;
    /**
     * Queue: how long an event waits after its second attempt, in ns.
     */
    uint64_t retry_delay_ns;
    /**
     * Queue: the longest that it waits between two attempts, in ns.
     */
    uint64_t retry_delay_max_ns;
    /**
     * Table: how many keys may have a value at the same time; 0 for other kinds.
     */
    uint64_t keys;
    /**
     * Table: the most bytes of a value; 0 for other kinds.
     */
    uint64_t value_bytes;
} railbus_channel_header;

/**
 * An event. Its bytes lie in the ring itself, or in the reader's own buffer if the reader is
 * lossy. Do not write them. The function that returned the event says how long they stay. This
 * struct does not grow.
 */
typedef struct railbus_event {
    /**
     * The payload; aligned to 8 bytes. Never NULL.
     */
    const uint8_t *payload;
    /**
     * Its position in the channel: a byte offset in a stream, a ticket in a queue or topic. It
     * never wraps.
     */
    uint64_t position;
    /**
     * Bytes of the payload; may be 0.
     */
    uint32_t payload_bytes;
    /**
     * The type id that its publisher gave it, 0 if none.
     */
    uint16_t type_id;
    /**
     * `RAILBUS_HAS_TIME` and others, or-ed together. `railbus_event_attributes` reads the
     * attributes they name.
     */
    uint8_t flags;
    /**
     * Queue: which delivery this is, counted from 1; the count stops at 64. Otherwise 0.
     */
    uint8_t attempt;
} railbus_event;

/**
 * The attributes that travel with a payload. Initialise the struct with `RAILBUS_ATTRIBUTES_INIT`.
 */
typedef struct railbus_attributes {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Type id, for the reader's use.
     */
    uint16_t type_id;
    /**
     * Which of the following fields count: `RAILBUS_HAS_TIME`, `RAILBUS_HAS_TRACE`,
     * `RAILBUS_HAS_ORIGIN`, `RAILBUS_HAS_SEQUENCE`, `RAILBUS_HAS_KEY`, `RAILBUS_HAS_JOB`,
     * `RAILBUS_REPLAYED`, or-ed together.
     */
    uint8_t flags;
    /**
     * W3C trace flags: 1 is sampled.
     */
    uint8_t trace_flags;
    /**
     * Publish time in ns of CLOCK_REALTIME, in place of the channel's own stamp.
     */
    uint64_t published_ns;
    /**
     * W3C trace id.
     */
    uint8_t trace_id[16];
    /**
     * W3C id of the span that published.
     */
    uint8_t span_id[8];
    /**
     * Dead letter: first 8 bytes of the queue's channel id, as a little-endian number.
     */
    uint64_t origin_channel;
    /**
     * Dead letter: the queue's incarnation.
     */
    uint64_t origin_incarnation;
    /**
     * Dead letter: the event's position in that queue.
     */
    uint64_t origin_position;
    /**
     * Dead letter: how many times it was delivered without success.
     */
    uint64_t origin_attempts;
    /**
     * Numbered event: its publisher, as a hash of the publisher's name.
     */
    uint64_t sequence_publisher;
    /**
     * Numbered event: its number.
     */
    uint64_t sequence_number;
    /**
     * Event with a key: a queue with `RAILBUS_KEYED` handles events with one key one after the
     * other, in order. For a key made of bytes, use their 64-bit FNV-1a, as the command line does.
     */
    uint64_t key;
    /**
     * `RAILBUS_HAS_JOB`: the time before which no worker of a queue takes the event, in ns of
     * CLOCK_REALTIME; 0 for none.
     */
    uint64_t not_before_ns;
    /**
     * `RAILBUS_HAS_JOB`: the time from which on a queue's event is expired, in ns of CLOCK_REALTIME;
     * 0 for none.
     */
    uint64_t expires_ns;
    /**
     * `RAILBUS_HAS_JOB`: the unique key of an event that was published with one; else zeros. It is
     * not read when an event is published.
     */
    uint64_t unique_key[2];
    /**
     * Dead letter: 1 if its time was over, 0 if it was delivered too often.
     */
    uint32_t origin_expired;
    /**
     * Zero.
     */
    uint32_t reserved;
} railbus_attributes;

/**
 * How a sender behaves. Initialise it with `RAILBUS_SENDER_OPTIONS_INIT`; zero is the default of
 * everything.
 */
typedef struct railbus_sender_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_EVICT_STUCK` and `RAILBUS_SEQUENCED`, or-ed together.
     */
    uint32_t flags;
    /**
     * A name for observers, at most 64 bytes; may be NULL.
     */
    const char *name;
    /**
     * Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t name_bytes;
    /**
     * How to wait for room: one of `RAILBUS_WAIT_`.
     */
    uint32_t wait;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * How long to poll before sleeping or yielding, in ns.
     */
    uint64_t spin_ns;
} railbus_sender_options;

/**
 * The counts of a sender. Initialise `struct_size` before the call that fills it.
 */
typedef struct railbus_sender_stats {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Whether the channel is under pressure, 0 or 1. Pressure begins when the depth reaches the
     * high watermark, and ends when it is down to the low one.
     */
    uint32_t under_pressure;
    /**
     * Events published by this handle.
     */
    uint64_t events;
    /**
     * Events dropped by this handle because the channel was full.
     */
    uint64_t dropped;
    /**
     * Largest payload in bytes that the channel takes, without a trace context or origin.
     */
    uint64_t payload_max;
    /**
     * `RAILBUS_SEQUENCED`: the number of the last event that the channel has of this sender's
     * name, 0 if none. A publisher that was killed goes on after it. `RAILBUS_NONE` otherwise.
     */
    uint64_t resume_point;
    /**
     * Events of this handle that went to the channel that this one diverts to.
     */
    uint64_t diverted;
    /**
     * Why there was no room, the last time that this handle found none: which participant was in
     * the way, and how far behind it is now. Zero-terminated, cut if too long; empty if there
     * always was room.
     */
    char refusal[256];
} railbus_sender_stats;

/**
 * Bytes in the caller's memory. This struct does not grow.
 */
typedef struct railbus_bytes {
    /**
     * Their address; NULL only if there are none.
     */
    const uint8_t *bytes;
    /**
     * Their number.
     */
    size_t count;
} railbus_bytes;

/**
 * How a reader behaves. Initialise it with `RAILBUS_READER_OPTIONS_INIT`; zero is the default of
 * everything.
 */
typedef struct railbus_reader_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_DURABLE`, `RAILBUS_LOSSY`, `RAILBUS_UNTIL_CLOSED`, `RAILBUS_MANUAL`, or-ed together.
     */
    uint32_t flags;
    /**
     * A name of at most 64 bytes: for observers, or the identity of a durable subscription. May be
     * NULL.
     */
    const char *name;
    /**
     * Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t name_bytes;
    /**
     * How to wait for events: one of `RAILBUS_WAIT_`.
     */
    uint32_t wait;
    /**
     * Where to start: one of `RAILBUS_START_`. A durable subscription that exists resumes instead.
     */
    uint32_t start;
    /**
     * How long to poll before sleeping or yielding, in ns.
     */
    uint64_t spin_ns;
    /**
     * With `RAILBUS_START_POSITION`: the position. With `RAILBUS_START_LAST`: how many events.
     */
    uint64_t position;
    /**
     * With `RAILBUS_START_TIME`: the time, in ns of CLOCK_REALTIME.
     */
    uint64_t time_ns;
    /**
     * Whether to begin in the channel's journal: one of `RAILBUS_FOLLOW_`. If so,
     * `RAILBUS_START_OLDEST` means the journal's oldest event, and a position may be any position
     * in the journal.
     */
    uint32_t follow;
    /**
     * Zero.
     */
    uint32_t reserved;
} railbus_reader_options;

/**
 * The counts of a reader. Initialise `struct_size` before the call that fills it.
 */
typedef struct railbus_reader_stats {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Events received by this handle.
     */
    uint64_t events;
    /**
     * Events lost by this handle to overrun.
     */
    uint64_t lost;
    /**
     * The position of the next event that this reader will return.
     */
    uint64_t position;
    /**
     * Everything before this position was acknowledged. `RAILBUS_NONE` for a reader that follows
     * the journal.
     */
    uint64_t acknowledged;
} railbus_reader_stats;

/**
 * Arrays for copied events, with one payload every `stride_bytes`. Initialise it with
 * `RAILBUS_STRIDED_INIT`.
 */
typedef struct railbus_strided {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Payload i goes to `payloads + i * stride_bytes`.
     */
    void *payloads;
    /**
     * The largest payload that fits, and the distance between two payloads.
     */
    size_t stride_bytes;
    /**
     * The number of events that there is room for.
     */
    size_t events_max;
    /**
     * Gets the bytes of each payload. If NULL, every payload must have exactly `stride_bytes`.
     */
    uint32_t *lengths;
    /**
     * Gets the position of each event; may be NULL.
     */
    uint64_t *positions;
    /**
     * Gets the type id of each event; may be NULL.
     */
    uint16_t *type_ids;
    /**
     * Gets the time at which each event was published, in ns of CLOCK_REALTIME, or 0 if it carries
     * none; may be NULL.
     */
    uint64_t *published_ns;
} railbus_strided;

/**
 * How a worker behaves. Initialise it with `RAILBUS_WORKER_OPTIONS_INIT`; zero is the default of
 * everything.
 */
typedef struct railbus_worker_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_UNTIL_CLOSED` or 0.
     */
    uint32_t flags;
    /**
     * A name for observers, at most 64 bytes; may be NULL.
     */
    const char *name;
    /**
     * Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t name_bytes;
    /**
     * How to wait for events: one of `RAILBUS_WAIT_`.
     */
    uint32_t wait;
    /**
     * How many events to take from the ring at once, 1 to 64. More is faster with one worker, but
     * less fair between several, because events that one worker has taken are not available to
     * others. 0, the default, follows the load.
     */
    uint32_t grab;
    /**
     * How long to poll before sleeping or yielding, in ns.
     */
    uint64_t spin_ns;
    /**
     * Priority level, 0 to 255: 0 is served first. A worker on a lower level gets events only
     * while every worker above it holds as many as it may, or does not move.
     */
    uint32_t priority;
    /**
     * Most events that this worker may hold, 1 to 65535: a take beyond that returns
     * `RAILBUS_BUSY`. 0 is no bound on level 0, and 1 on the levels below.
     */
    uint32_t in_hand_max;
} railbus_worker_options;

/**
 * An event that a worker holds. This struct does not grow.
 */
typedef struct railbus_job {
    /**
     * The event, in place.
     */
    struct railbus_event event;
    /**
     * Belongs to the library; leave it as it is.
     */
    uint64_t token;
} railbus_job;

/**
 * The counts of a worker. Initialise `struct_size` before the call that fills it.
 */
typedef struct railbus_worker_stats {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Events taken by this handle, redeliveries included.
     */
    uint64_t events;
    /**
     * Events that this worker holds.
     */
    uint64_t in_hand;
} railbus_worker_stats;

/**
 * How a writer or reader of a table behaves. Initialise it with `RAILBUS_TABLE_OPTIONS_INIT`; zero is
 * the default of everything.
 */
typedef struct railbus_table_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * How a reader waits for changes: one of `RAILBUS_WAIT_`. Writers never wait for readers.
     */
    uint32_t wait;
    /**
     * A name for observers, at most 64 bytes; may be NULL.
     */
    const char *name;
    /**
     * Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t name_bytes;
    /**
     * How long a reader polls before sleeping or yielding, in ns.
     */
    uint64_t spin_ns;
} railbus_table_options;

/**
 * A value that was read. It is a copy, aligned to 8 bytes, that stays until the next call on the
 * reader.
 */
typedef struct railbus_value {
    /**
     * The value; NULL if there is none.
     */
    const uint8_t *bytes;
    /**
     * The number of its bytes.
     */
    size_t count;
    /**
     * Its version; `RAILBUS_NONE` if there is none.
     */
    uint64_t version;
} railbus_value;

/**
 * A key of a table, and what is known of its value. `key` and `key_bytes` are the key as functions
 * take it.
 */
typedef struct railbus_table_item {
    /**
     * The bytes of the key, padded with zeros; the first eight are a `uint64_t` if the key is a number.
     */
    uint8_t key[RAILBUS_KEY_BYTES];
    /**
     * The number of bytes of the key, or `RAILBUS_NUMBER_KEY`.
     */
    size_t key_bytes;
    /**
     * The version of the value, or of the deletion.
     */
    uint64_t version;
    /**
     * The number of bytes of the value; `RAILBUS_NONE` if the key was deleted.
     */
    uint64_t value_bytes;
} railbus_table_item;

/**
 * A snapshot of a channel. Initialise `struct_size` before the call that fills it. Positions are
 * bytes in a stream, tickets in a queue or topic.
 */
typedef struct railbus_channel_info {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Whether all mappings are locked in memory: 0 or 1.
     */
    uint32_t memory_locked;
    /**
     * The next position to be published.
     */
    uint64_t published;
    /**
     * The oldest position that is retained.
     */
    uint64_t oldest;
    /**
     * Queue: the next ticket to be taken, or `RAILBUS_NONE`.
     */
    uint64_t head;
    /**
     * How much waits: tickets not taken yet (queue), or positions not read yet by the slowest
     * reader that holds producers back.
     */
    uint64_t depth;
    /**
     * The capacity: bytes of a stream, slots of a queue or topic.
     */
    uint64_t capacity;
    /**
     * Queue: events that no worker has finished yet, or `RAILBUS_NONE`.
     */
    uint64_t unfinished;
    /**
     * Events dropped because the channel was full.
     */
    uint64_t dropped;
    /**
     * Queue: events delivered again.
     */
    uint64_t redelivered;
    /**
     * Queue: events moved to the dead-letter queue.
     */
    uint64_t dead_lettered;
    /**
     * Length of all files of the channel in bytes.
     */
    uint64_t total_bytes;
    /**
     * Size of the pages behind the data in this process.
     */
    uint64_t page_bytes;
    /**
     * Bytes of the data that this process sees in huge pages.
     */
    uint64_t huge_bytes;
    /**
     * Owner of the file that producers write.
     */
    uint32_t ring_uid;
    /**
     * Its group.
     */
    uint32_t ring_gid;
    /**
     * Its mode.
     */
    uint32_t ring_mode;
    /**
     * Owner of the file that consumers write.
     */
    uint32_t acks_uid;
    /**
     * Its group.
     */
    uint32_t acks_gid;
    /**
     * Its mode.
     */
    uint32_t acks_mode;
    /**
     * Queue: events that ended because their time was over.
     */
    uint64_t expired;
    /**
     * Queue: of those that no worker holds, events that wait for their time, or `RAILBUS_NONE`.
     */
    uint64_t not_due;
} railbus_channel_info;

/**
 * A registered participant. This struct does not grow.
 */
typedef struct railbus_participant {
    /**
     * `RAILBUS_PRODUCERS` or `RAILBUS_CONSUMERS`.
     */
    uint32_t side;
    /**
     * Its index on that side: `railbus_channel_evict` takes it.
     */
    uint32_t index;
    /**
     * One of `RAILBUS_ROLE_`; 0 is unknown.
     */
    uint32_t role;
    /**
     * `RAILBUS_LIVE`, `RAILBUS_DEAD`, `RAILBUS_HELD` or `RAILBUS_LIFE_EVICTED`.
     */
    uint32_t life;
    /**
     * `RAILBUS_DURABLE`, `RAILBUS_LOSSY`, `RAILBUS_MANUAL` and `RAILBUS_MAY_BE_STUCK`, or-ed together.
     */
    uint32_t flags;
    /**
     * Its process id.
     */
    uint32_t pid;
    /**
     * The id of the thread that opened it.
     */
    uint32_t tid;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * When its process started, in clock ticks since boot.
     */
    uint64_t start_time;
    /**
     * Readers: everything before this position was read. `RAILBUS_NONE` for others.
     */
    uint64_t cursor;
    /**
     * A stream's publisher: the next position that it writes. `RAILBUS_NONE` for others.
     */
    uint64_t position;
    /**
     * Readers: how far the cursor is behind the published position. `RAILBUS_NONE` for others.
     */
    uint64_t lag;
    /**
     * Tickets that it has claimed and not finished.
     */
    uint64_t in_hand;
    /**
     * Events published or received.
     */
    uint64_t events;
    /**
     * Their payload bytes.
     */
    uint64_t bytes;
    /**
     * Readers: events lost to overrun.
     */
    uint64_t lost;
    /**
     * Producers: events dropped because the channel was full.
     */
    uint64_t dropped;
    /**
     * How long ago it was opened, in ns.
     */
    uint64_t attached_ns;
    /**
     * How long ago it last stored the time, in ns.
     */
    uint64_t seen_ns;
    /**
     * How long it has been waiting for room, in ns; `RAILBUS_NONE` if it is not waiting.
     */
    uint64_t waiting_ns;
    /**
     * The position that it waits for; `RAILBUS_NONE` if it is not waiting.
     */
    uint64_t waiting_for;
    /**
     * How long it has not moved although others wait for it, in ns; `RAILBUS_NONE` if it is not
     * stuck.
     */
    uint64_t stuck_ns;
    /**
     * Its name, zero-terminated.
     */
    char name[72];
} railbus_participant;

/**
 * The results of a repair. Initialise `struct_size` before the call that fills it.
 */
typedef struct railbus_repaired {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Sides that were left alone because this process may not write them.
     */
    uint32_t skipped;
    /**
     * Registry entries of dead participants that were freed.
     */
    uint64_t buried;
    /**
     * Entries of dead participants that could not be freed yet: try again.
     */
    uint64_t unsettled;
    /**
     * Topic: tickets of dead publishers that were marked as carrying no event.
     */
    uint64_t aborted;
    /**
     * Queue: events of dead workers that were handed back.
     */
    uint64_t redone;
} railbus_repaired;

/**
 * How far the journal of a channel is. Initialise `struct_size` before the call that fills it. A
 * position here is exclusive: everything before it is in the journal.
 */
typedef struct railbus_journal {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * One of `RAILBUS_JOURNAL_`.
     */
    uint32_t state;
    /**
     * Everything before this survives the death of any process.
     */
    uint64_t written;
    /**
     * Everything before this survives the death of the machine.
     */
    uint64_t durable;
    /**
     * Everything before this was taken from the ring.
     */
    uint64_t end;
    /**
     * The oldest position in the journal.
     */
    uint64_t first;
    /**
     * When the journaller started, in ns of CLOCK_REALTIME.
     */
    uint64_t started_ns;
    /**
     * Events recorded since that start.
     */
    uint64_t events;
    /**
     * Their bytes.
     */
    uint64_t bytes;
    /**
     * Gaps since that start: lossy overruns, a full disk, and events that a dead journaller lost.
     */
    uint64_t gaps;
    /**
     * Events in those gaps, as far as they could be counted.
     */
    uint64_t lost;
    /**
     * The journaller's process id.
     */
    uint32_t pid;
    /**
     * Whether the disk is full now: 0 or 1.
     */
    uint32_t no_space;
    /**
     * The directory of the journal, for `railbus_replay_open`. Zero-terminated.
     */
    char directory[1024];
    /**
     * The failure that poisoned it; empty if there was none. UTF-8, zero-terminated.
     */
    char failure[512];
} railbus_journal;

/**
 * How to record a channel. Initialise it with `RAILBUS_RECORDER_OPTIONS_INIT`; zero is the default
 * of everything.
 */
typedef struct railbus_recorder_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_RECORD_LOSSY` and `RAILBUS_RECORD_DROP_WHEN_FULL`, or-ed together.
     */
    uint32_t flags;
    /**
     * When written blocks are made durable: one of `RAILBUS_SYNC_`.
     */
    uint32_t sync;
    /**
     * Compression: one of `RAILBUS_CODEC_`.
     */
    uint32_t codec;
    /**
     * With `RAILBUS_SYNC_INTERVAL`: the interval in ns, at least 1.
     */
    uint64_t sync_interval_ns;
    /**
     * Size of a segment file in bytes: a multiple of 4096, 268 KiB to 64 GiB; 0 is 256 MiB.
     */
    uint64_t segment_bytes;
    /**
     * How many bytes may be taken from the ring and not be written yet: a multiple of 256 KiB, 1
     * MiB to 1 GiB. 0 sizes it to the channel, as four of its rings, 1 to 16 MiB. When the disk
     * stalls, this room fills first, and then the ring, before a publisher has to wait.
     */
    uint64_t staging_bytes;
    /**
     * Removes the oldest segments while the journal has more bytes than this; 0 keeps everything.
     */
    uint64_t keep_bytes;
    /**
     * Removes segments that were recorded longer ago than this, in ns; 0 keeps everything.
     */
    uint64_t keep_ns;
} railbus_recorder_options;

/**
 * The range and pace of a replay. Initialise it with `RAILBUS_REPLAY_OPTIONS_INIT`; zero is the
 * default of everything.
 */
typedef struct railbus_replay_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_REPEAT`, or 0.
     */
    uint32_t flags;
    /**
     * The meaning of `from`: one of `RAILBUS_AT_`.
     */
    uint32_t from_what;
    /**
     * The meaning of `to`: one of `RAILBUS_AT_`.
     */
    uint32_t to_what;
    /**
     * The position or time to begin at. A position must be in the journal; the first event at or
     * after it is the first.
     */
    uint64_t from;
    /**
     * The position or time to end at; the event there is not replayed.
     */
    uint64_t to;
    /**
     * Only events of these type ids; NULL for all.
     */
    const uint16_t *type_ids;
    /**
     * The number of type ids.
     */
    size_t type_ids_count;
    /**
     * The factor of the recorded speed, 0.000001 to 1000000; 0 is as fast as possible. Not with
     * `rate`.
     */
    double speed;
    /**
     * Events a second, 0.001 to 1000000000, whatever their times; 0 uses `speed`.
     */
    double rate;
} railbus_replay_options;

/**
 * A saved state of a consumer, and the position that belongs to it. Initialise it with
 * `RAILBUS_SAVED_INIT`.
 */
typedef struct railbus_saved {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The position to resume at: the state contains the effect of every event before it.
     */
    uint64_t position;
    /**
     * The state; NULL when it is empty.
     */
    const void *state;
    /**
     * Its bytes, up to 4 GiB.
     */
    size_t state_bytes;
    /**
     * Which save of this name it was, counted from 1; 0 when nothing was saved yet. Output only.
     */
    uint64_t number;
    /**
     * When it was saved, in ns of CLOCK_REALTIME. Output only.
     */
    uint64_t time_ns;
    /**
     * The incarnation of the channel to which the position belongs. Output only.
     */
    uint64_t incarnation;
} railbus_saved;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns a few words for a result, such as "there is no room now". Never NULL; do not free it.
 */
const char *railbus_describe(int32_t code);

/**
 * Returns the version of the library, such as "0.1.0". Do not free it.
 */
const char *railbus_version(void);

/**
 * Returns the fingerprint of the layout of shared memory that the library was built for. A channel
 * with another fingerprint is refused with `RAILBUS_LAYOUT`.
 */
uint64_t railbus_layout_fingerprint(void);

/**
 * Checks that the library fits the header: call it as `railbus_check_abi(RAILBUS_ABI_VERSION,
 * RAILBUS_LAYOUT_FINGERPRINT, &error)`. `railbus_bus_open` does so with the values in its options.
 *
 * Returns `RAILBUS_WRONG_VERSION` if it does not fit.
 */
int32_t railbus_check_abi(uint32_t abi_version, uint64_t layout_fingerprint, struct railbus_error *error);

/**
 * Opens the bus `name`. Nothing is made on disk until a channel is made.
 *
 * `name` has 1 to 100 bytes of UTF-8 without `/` and control characters, and does not start with a
 * dot. `name_bytes` may be `RAILBUS_ZERO_TERMINATED`. `options` may be NULL. Close the bus with
 * `railbus_bus_close`.
 *
 * Returns `RAILBUS_INVALID` for a bad name, `RAILBUS_WRONG_VERSION` if header and library do not
 * fit.
 */
int32_t railbus_bus_open(const char *name,
                         size_t name_bytes,
                         const struct railbus_bus_options *options,
                         struct railbus_bus **bus,
                         struct railbus_error *error);

/**
 * Closes a bus. Its channels stay open. NULL is ignored.
 */
int32_t railbus_bus_close(struct railbus_bus *bus, struct railbus_error *error);

/**
 * Writes the names of the bus's channels to `names`: sorted, and each followed by a zero byte.
 *
 * `needed` gets the number of bytes of all names. Returns `RAILBUS_WRONG_LENGTH`, with `names`
 * untouched, when `names_bytes` is less than that.
 */
int32_t railbus_bus_list(const struct railbus_bus *bus,
                         char *names,
                         size_t names_bytes,
                         size_t *needed,
                         struct railbus_error *error);

/**
 * Removes a channel. Participants that have it open keep it until they leave, but it can no longer
 * be found.
 *
 * Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`.
 */
int32_t railbus_bus_remove(const struct railbus_bus *bus,
                           const char *channel,
                           size_t channel_bytes,
                           struct railbus_error *error);

/**
 * Makes a channel. It allocates and faults in all the memory, about 0.3 s for a GiB.
 *
 * Close it with `railbus_channel_close`. Returns `RAILBUS_EXISTS`, `RAILBUS_INVALID`,
 * `RAILBUS_NO_SPACE`, `RAILBUS_NO_HUGE_PAGES`, `RAILBUS_NOT_ALLOWED`. With `adopt` it also returns
 * `RAILBUS_BUSY` while the channel exists or another process writes to one of the journals, and
 * `RAILBUS_NOT_FOUND` if there is no journal.
 */
int32_t railbus_channel_create(const struct railbus_bus *bus,
                               const char *name,
                               size_t name_bytes,
                               const struct railbus_channel_options *options,
                               struct railbus_channel **channel,
                               struct railbus_error *error);

/**
 * Attaches to a channel that exists.
 *
 * Close it with `railbus_channel_close`. Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`,
 * `RAILBUS_LAYOUT`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_channel_attach(const struct railbus_bus *bus,
                               const char *name,
                               size_t name_bytes,
                               struct railbus_channel **channel,
                               struct railbus_error *error);

/**
 * Attaches to a channel as `railbus_channel_attach` does. If there is no such channel, waits at
 * most `timeout_ns` for another process to make it: 0 does not wait, `RAILBUS_FOREVER` waits
 * without end. The bus need not exist either.
 *
 * The wait sleeps until a name appears in the directory. Returns `RAILBUS_TIMED_OUT`, and the
 * results of `railbus_channel_attach` but for `RAILBUS_NOT_FOUND`.
 */
int32_t railbus_channel_attach_timeout(const struct railbus_bus *bus,
                                       const char *name,
                                       size_t name_bytes,
                                       uint64_t timeout_ns,
                                       struct railbus_channel **channel,
                                       struct railbus_error *error);

/**
 * Attaches to a channel, or makes it if it does not exist. Of several processes that do this, one
 * creates.
 *
 * A channel that exists must have every option that is not zero as it is given. Options that are
 * zero are not compared, nor is `pages`, which is only a wish.
 *
 * Returns the results of `railbus_channel_create` and `railbus_channel_attach`. Returns
 * `RAILBUS_EXISTS` when the channel exists with other options; the error names each of them.
 */
int32_t railbus_channel_create_or_attach(const struct railbus_bus *bus,
                                         const char *name,
                                         size_t name_bytes,
                                         const struct railbus_channel_options *options,
                                         struct railbus_channel **channel,
                                         struct railbus_error *error);

/**
 * Closes a channel. Handles that were opened from it stay open. NULL is ignored.
 */
int32_t railbus_channel_close(struct railbus_channel *channel, struct railbus_error *error);

/**
 * Fills `header` with the options that the channel's creator chose. No system call.
 */
int32_t railbus_channel_describe(const struct railbus_channel *channel,
                                 struct railbus_channel_header *header,
                                 struct railbus_error *error);

/**
 * Reads the attributes that an event carries beside its payload: time, trace context, origin,
 * number, key, times. Call it only as long as the payload may be read. Attributes that are not in the
 * event's `flags` become zero.
 */
int32_t railbus_event_attributes(const struct railbus_event *event,
                                 struct railbus_attributes *attributes,
                                 struct railbus_error *error);

/**
 * Opens a sender of the channel, whatever its kind: the publisher of a stream, a publisher of a
 * topic, a producer of a queue. A stream's publisher goes on where the last one left or died.
 *
 * `options` may be NULL. Close it with `railbus_sender_close`. Returns `RAILBUS_BUSY` while a
 * stream has another live publisher, or when every registry entry is taken. Also returns
 * `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_sender_open(const struct railbus_channel *channel,
                            const struct railbus_sender_options *options,
                            struct railbus_sender **sender,
                            struct railbus_error *error);

/**
 * Closes a sender; an open claim is aborted. NULL is ignored.
 */
int32_t railbus_sender_close(struct railbus_sender *sender, struct railbus_error *error);

/**
 * Counts the live readers (subscribers, workers, taps) that have joined: they receive every event
 * published from now on. One system call for each.
 */
int32_t railbus_sender_readers(struct railbus_sender *sender, size_t *readers, struct railbus_error *error);

/**
 * Fills `stats` with the counts of this sender. No system call.
 */
int32_t railbus_sender_statistics(struct railbus_sender *sender,
                                  struct railbus_sender_stats *stats,
                                  struct railbus_error *error);

/**
 * Publishes a copy of `payload_bytes` bytes.
 *
 * Waits at most `timeout_ns` for room: 0 does not wait, `RAILBUS_FOREVER` does what the channel's
 * creator chose. The event's position goes to `position`, which may be NULL.
 *
 * If it returns `RAILBUS_FULL` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_DROPPED`,
 * `RAILBUS_TOO_LONG`, `RAILBUS_NO_WORKER` or `RAILBUS_FORKED`, nothing was published.
 * `RAILBUS_DIVERTED` means that the event was published in the channel that this one diverts to;
 * `position` is its position there.
 */
int32_t railbus_publish(struct railbus_sender *sender,
                        const void *payload,
                        size_t payload_bytes,
                        uint64_t timeout_ns,
                        uint64_t *position,
                        struct railbus_error *error);

/**
 * Publishes as `railbus_publish` does, with a type id, trace context, time or origin. `attributes`
 * may be NULL.
 */
int32_t railbus_publish_with(struct railbus_sender *sender,
                             const void *payload,
                             size_t payload_bytes,
                             const struct railbus_attributes *attributes,
                             uint64_t timeout_ns,
                             uint64_t *position,
                             struct railbus_error *error);

/**
 * Publishes event `number` of this sender's name, as `railbus_publish_with` does. Numbers count up
 * from 1, with gaps or without.
 *
 * The number is kept in the channel. A publisher that is killed at any instruction can open again
 * under its name and publish everything again from its resume point (`railbus_sender_statistics`),
 * or from before it. Then no event is missing and none is published twice. There is one exception
 * in a queue or topic: if the other producers went round the whole ring in between, the one event
 * that was in work may come twice, with the same number. Readers find name and number by
 * `railbus_event_attributes`.
 *
 * The event is never diverted: the call waits where other events would be diverted. Returns
 * `RAILBUS_PUBLISHED_BEFORE` for a number that the channel has already, `RAILBUS_NOT_SEQUENCED`,
 * and the results of `railbus_publish`.
 */
int32_t railbus_publish_numbered(struct railbus_sender *sender,
                                 uint64_t number,
                                 const void *payload,
                                 size_t payload_bytes,
                                 const struct railbus_attributes *attributes,
                                 uint64_t timeout_ns,
                                 uint64_t *position,
                                 struct railbus_error *error);

/**
 * Publishes copies of `count` payloads, in order. A batch costs one check for sleeping readers
 * and, in a queue or topic, one step of the shared tail for up to 64 events. Readers may see it a
 * few events at a time.
 *
 * Waits at most `timeout_ns` for room for all of them; 0 publishes as many as there is room for.
 * `published`, which may be NULL, gets the number of published events, whatever the result is. A
 * batch waits also where single events would be dropped.
 *
 * Returns `RAILBUS_FULL` (timeout 0) or `RAILBUS_TIMED_OUT` if not all were published. Returns
 * `RAILBUS_TOO_LONG`, with none published, if one of them is too long.
 */
int32_t railbus_publish_batch(struct railbus_sender *sender,
                              const struct railbus_bytes *payloads,
                              size_t count,
                              uint64_t timeout_ns,
                              size_t *published,
                              struct railbus_error *error);

/**
 * Publishes copies of `count` payloads that lie `stride_bytes` apart, from `payloads` on, as
 * `railbus_publish_batch` does. Payload i has `lengths[i]` bytes. If `lengths` is NULL, every
 * payload has `stride_bytes`.
 *
 * Returns the results of `railbus_publish_batch`, and `RAILBUS_INVALID` if a length is larger than
 * the stride.
 */
int32_t railbus_publish_strided(struct railbus_sender *sender,
                                const void *payloads,
                                size_t stride_bytes,
                                const uint32_t *lengths,
                                size_t count,
                                uint64_t timeout_ns,
                                size_t *published,
                                struct railbus_error *error);

/**
 * Claims room for a payload of `payload_bytes`, to be written in place. `payload` gets its
 * address, aligned to 8 bytes. At first the bytes there are old contents of the ring.
 *
 * Fill them with ordinary stores by this process, not by asynchronous I/O, and then call
 * `railbus_commit` or `railbus_abort`. Until then this sender refuses every other call with
 * `RAILBUS_CLAIM`, except closing. The call waits as `railbus_publish` does. `attributes` may be
 * NULL.
 *
 * Returns the results of `railbus_publish`. But a claimed event is not diverted: the result is
 * `RAILBUS_FULL` instead.
 */
int32_t railbus_claim(struct railbus_sender *sender,
                      size_t payload_bytes,
                      const struct railbus_attributes *attributes,
                      uint64_t timeout_ns,
                      void **payload,
                      struct railbus_error *error);

/**
 * Publishes the claimed event with the first `payload_bytes` bytes of its payload, at most as many
 * as were claimed. Its position goes to `position`, which may be NULL.
 *
 * Returns `RAILBUS_CLAIM` if there is no claim. Returns `RAILBUS_TOO_LONG`, with the claim still
 * open, if `payload_bytes` is more than was claimed.
 */
int32_t railbus_commit(struct railbus_sender *sender,
                       size_t payload_bytes,
                       uint64_t *position,
                       struct railbus_error *error);

/**
 * Gives a claim back. No reader saw any of it. Returns `RAILBUS_CLAIM` if there is no claim.
 */
int32_t railbus_abort(struct railbus_sender *sender, struct railbus_error *error);

/**
 * Opens a reader of the channel: a subscriber of a stream or topic, or a tap of a queue, which
 * sees every event and takes none.
 *
 * With `follow` it begins in the channel's journal, wherever that is, and goes on into the ring,
 * without a gap and without a duplicate. Such a reader returns one event at a time. While it waits
 * in the journal, it looks again every half millisecond. A bridge cannot be armed with it. It may
 * also return `RAILBUS_PEER_GONE`, when the next event is in neither the ring nor the journal and
 * the journaller is dead, or the error of the disk.
 *
 * `options` may be NULL. Close it with `railbus_reader_close`. Returns `RAILBUS_BUSY` when the
 * durable name is in use or no registry entry is free. Returns `RAILBUS_INVALID` when the position
 * to start at is not retained, among others. Also returns `RAILBUS_NOT_ALLOWED` and
 * `RAILBUS_CORRUPT`. With `follow` it returns `RAILBUS_PEER_GONE` when nothing has ever recorded
 * this channel.
 */
int32_t railbus_reader_open(const struct railbus_channel *channel,
                            const struct railbus_reader_options *options,
                            struct railbus_reader **reader,
                            struct railbus_error *error);

/**
 * Closes a reader. The events that it returned are released, and everything received is
 * acknowledged. NULL is ignored.
 */
int32_t railbus_reader_close(struct railbus_reader *reader, struct railbus_error *error);

/**
 * Receives the next event, in place: `event` says where it is.
 *
 * Waits at most `timeout_ns`: 0 does not wait. The payload may be read until the next call on this
 * reader that receives, releases or closes.
 *
 * Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_LOST`, `RAILBUS_CLOSED`,
 * `RAILBUS_EVICTED`, `RAILBUS_REMOVED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_receive(struct railbus_reader *reader,
                        uint64_t timeout_ns,
                        struct railbus_event *event,
                        struct railbus_error *error);

/**
 * Releases every event that this reader has returned, and publishes its cursor at once. A durable
 * subscription resumes after them. Their payloads must not be read any more. With `RAILBUS_MANUAL`
 * the cursor stays: see `railbus_acknowledge_to`.
 */
int32_t railbus_release(struct railbus_reader *reader, struct railbus_error *error);

/**
 * Acknowledges everything before `position`, for a reader that was opened with `RAILBUS_MANUAL`.
 * The events are released, and a publisher that waits for the room is woken. A durable
 * subscription resumes exactly there, whatever happens to this process next. Never blocks.
 *
 * `position` is that of the first event that is *not* done. Take it from a `railbus_event` that
 * was received, or use `position` of `railbus_reader_statistics` when everything received is done.
 * Acknowledging the same position again, or a lower one, changes nothing. Payloads before
 * `position` must not be read any more; later ones stay as they are.
 *
 * Returns `RAILBUS_INVALID` when the position lies beyond what was received, when no event starts
 * there, and for a reader that was not opened with `RAILBUS_MANUAL`. Also returns
 * `RAILBUS_EVICTED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`. With any of these, nothing is
 * acknowledged.
 */
int32_t railbus_acknowledge_to(struct railbus_reader *reader, uint64_t position, struct railbus_error *error);

/**
 * Fills `stats` with the counts of this reader. No system call; releases nothing.
 */
int32_t railbus_reader_statistics(struct railbus_reader *reader,
                                  struct railbus_reader_stats *stats,
                                  struct railbus_error *error);

/**
 * Receives up to `events_max` events that are there, in place, and holds them together. All
 * payloads may be read until the next call on this reader that receives, releases or closes. A
 * lossy reader reads copies, and gets one at a time.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets the number of
 * events, whatever the result is. If something else than an event, such as a loss, ends the batch,
 * the next call returns it.
 *
 * A publisher has to wait for the room of these events, so call again, or call `railbus_release`,
 * soon.
 *
 * Returns the results of `railbus_receive`.
 */
int32_t railbus_receive_batch(struct railbus_reader *reader,
                              struct railbus_event *events,
                              size_t events_max,
                              uint64_t timeout_ns,
                              size_t *count,
                              struct railbus_error *error);

/**
 * Copies up to `to->events_max` events that are there into the caller's memory, and releases them.
 * `count` gets the number of events, whatever the result is.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. An event that does not fit ends
 * the call. The next call then returns `RAILBUS_WRONG_LENGTH`, unless it is `railbus_receive` or
 * `railbus_receive_batch`, which return the event. If something else than an event, such as a
 * loss, ends the copying, the next call returns it, too.
 *
 * Returns the results of `railbus_receive`, and `RAILBUS_WRONG_LENGTH`.
 */
int32_t railbus_receive_into(struct railbus_reader *reader,
                             const struct railbus_strided *to,
                             uint64_t timeout_ns,
                             size_t *count,
                             struct railbus_error *error);

/**
 * Opens a worker of the channel, which must be a queue.
 *
 * `options` may be NULL. Close it with `railbus_worker_close`. Returns `RAILBUS_BUSY` when no
 * registry entry is free. Returns `RAILBUS_NOT_ALLOWED`, also when the queue has dead letters and
 * this process may not produce into their queue.
 */
int32_t railbus_worker_open(const struct railbus_channel *channel,
                            const struct railbus_worker_options *options,
                            struct railbus_worker **worker,
                            struct railbus_error *error);

/**
 * Closes a worker. The events that it holds are handed back, to be delivered again. NULL is
 * ignored.
 */
int32_t railbus_worker_close(struct railbus_worker *worker, struct railbus_error *error);

/**
 * Takes the next event. This worker holds it, beside others that it may hold, until `railbus_done`
 * or `railbus_retry`. The event may be read until then. Delivery is at least once: if the worker
 * dies, another gets it.
 *
 * Waits at most `timeout_ns`: 0 does not wait.
 *
 * Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_CLOSED`, `RAILBUS_FORKED`,
 * `RAILBUS_CORRUPT`. Returns `RAILBUS_BUSY` when this worker holds as many events as `in_hand_max`
 * allows.
 */
int32_t railbus_take(struct railbus_worker *worker,
                     uint64_t timeout_ns,
                     struct railbus_job *job,
                     struct railbus_error *error);

/**
 * Takes up to `jobs_max` events that are there. This worker holds them, as those of
 * `railbus_take`.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets the number of
 * events, whatever the result is.
 *
 * Returns the results of `railbus_take`.
 */
int32_t railbus_take_batch(struct railbus_worker *worker,
                           struct railbus_job *jobs,
                           size_t jobs_max,
                           uint64_t timeout_ns,
                           size_t *count,
                           struct railbus_error *error);

/**
 * Marks `count` events as done: they will not be delivered again, and may not be read any more.
 *
 * Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are done. Returns
 * `RAILBUS_EVICTED` if this worker was evicted and one of them goes to another worker: the work
 * done on it does not count.
 */
int32_t railbus_done(struct railbus_worker *worker,
                     const struct railbus_job *jobs,
                     size_t count,
                     struct railbus_error *error);

/**
 * Hands `count` events back. Each is delivered again, to this worker or another, with its attempt
 * counted, or becomes a dead letter. They may not be read any more.
 *
 * Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are handed back.
 * Returns `RAILBUS_EVICTED` if this worker was evicted: the events go to others anyway.
 */
int32_t railbus_retry(struct railbus_worker *worker,
                      const struct railbus_job *jobs,
                      size_t count,
                      struct railbus_error *error);

/**
 * Fills `stats` with the counts of this worker. No system call.
 */
int32_t railbus_worker_statistics(struct railbus_worker *worker,
                                  struct railbus_worker_stats *stats,
                                  struct railbus_error *error);

/**
 * Publishes a copy of `payload_bytes` bytes into a queue with `RAILBUS_UNIQUE`, unless the queue holds
 * an unfinished event with the same unique key. The key is `key_bytes` bytes of any kind; for a
 * number, give its 8 bytes, the least significant first. `attributes` may be NULL. `timeout_ns` is as
 * for `railbus_publish`.
 *
 * An event is unfinished until a worker has done it, or it became a dead letter, expired or was
 * purged. Of all senders that publish with one key at the same time, one succeeds. Keys of up to 15
 * bytes are compared whole, longer ones by a hash of 120 bits.
 *
 * `position`, which may be NULL, gets the event's position. If the result is `RAILBUS_DUPLICATE`, it
 * gets the position of the unfinished event.
 *
 * Returns `RAILBUS_DUPLICATE`, `RAILBUS_NOT_UNIQUE`, and the results of `railbus_publish`.
 */
int32_t railbus_publish_unique(struct railbus_sender *sender,
                               const void *key,
                               size_t key_bytes,
                               const void *payload,
                               size_t payload_bytes,
                               const struct railbus_attributes *attributes,
                               uint64_t timeout_ns,
                               uint64_t *position,
                               struct railbus_error *error);

/**
 * Hands `count` events back, as `railbus_retry` does, to be delivered again after `delay_ns`, at most
 * 24 h.
 *
 * Returns the results of `railbus_retry`.
 */
int32_t railbus_retry_after(struct railbus_worker *worker,
                            const struct railbus_job *jobs,
                            size_t count,
                            uint64_t delay_ns,
                            struct railbus_error *error);

/**
 * Waits until the event at `position` of a queue is finished, at most `timeout_ns`, where 0 looks
 * once. `end` gets how it ended: one of `RAILBUS_END_`. Any process may wait that may look at the
 * queue. If the worker that holds the event dies, the wait goes on.
 *
 * Returns `RAILBUS_TIMED_OUT`, and the error says where the event is; `RAILBUS_PEER_GONE` if the queue
 * was removed; `RAILBUS_INVALID` if the channel is no queue; `RAILBUS_NOT_ALLOWED`, `RAILBUS_FORKED`.
 */
int32_t railbus_wait_done(const struct railbus_channel *channel,
                          uint64_t position,
                          uint64_t timeout_ns,
                          uint32_t *end,
                          struct railbus_error *error);

/**
 * Opens a writer of a table.
 *
 * `options` may be NULL. Close it with `railbus_table_writer_close`. Returns `RAILBUS_BUSY` when every
 * registry entry is taken, `RAILBUS_INVALID` if the channel is no table. Also returns
 * `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`.
 */
int32_t railbus_table_writer_open(const struct railbus_channel *channel,
                                  const struct railbus_table_options *options,
                                  struct railbus_table_writer **writer,
                                  struct railbus_error *error);

/**
 * Closes a writer of a table. NULL is ignored.
 */
int32_t railbus_table_writer_close(struct railbus_table_writer *writer, struct railbus_error *error);

/**
 * Sets the value of a key. Readers see the old value or the new one, whole. Waits for another writer
 * of the same key for the channel's `stuck_after_ns` at most.
 *
 * `key_bytes` is the number of bytes of `key`, 1 to 64, or `RAILBUS_ZERO_TERMINATED`, or
 * `RAILBUS_NUMBER_KEY` if `key` points to a `uint64_t`. A number and its bytes are different keys.
 * `version`, which may be NULL, gets the new version: it grows with each change of the key, and never
 * comes again.
 *
 * Returns `RAILBUS_NO_SPACE` if the key is new and all keys are in use, `RAILBUS_TOO_LONG`,
 * `RAILBUS_INVALID`, `RAILBUS_BUSY` if a live writer has held the key for too long. Also returns
 * `RAILBUS_EVICTED`, `RAILBUS_REMOVED`, `RAILBUS_FORKED`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
 * The key is then as it was; but if the channel was removed, nobody can see it.
 */
int32_t railbus_table_set(struct railbus_table_writer *writer,
                          const void *key,
                          size_t key_bytes,
                          const void *value,
                          size_t value_bytes,
                          uint64_t *version,
                          struct railbus_error *error);

/**
 * Sets the value of a key only if it is what the caller has seen: of version `seen`, or without a value
 * for `RAILBUS_NONE`. A version never comes twice, so a key that was deleted and set again is not
 * mistaken for what it was.
 *
 * `version` gets the new version. If the result is `RAILBUS_CHANGED`, it gets the version that the key
 * has, `RAILBUS_NONE` if it has no value.
 *
 * Returns `RAILBUS_CHANGED`, and the results of `railbus_table_set`.
 */
int32_t railbus_table_compare_and_set(struct railbus_table_writer *writer,
                                      const void *key,
                                      size_t key_bytes,
                                      uint64_t seen,
                                      const void *value,
                                      size_t value_bytes,
                                      uint64_t *version,
                                      struct railbus_error *error);

/**
 * Deletes a key. `version`, which may be NULL, gets the version of the deletion.
 *
 * Returns `RAILBUS_ABSENT` if the key had no value, and the results of `railbus_table_set` except
 * `RAILBUS_NO_SPACE`.
 */
int32_t railbus_table_delete(struct railbus_table_writer *writer,
                             const void *key,
                             size_t key_bytes,
                             uint64_t *version,
                             struct railbus_error *error);

/**
 * Deletes a key only if its value is of version `seen`. `version`, which may be NULL, gets the version
 * of the deletion; with `RAILBUS_CHANGED`, the version that the key has.
 *
 * Returns `RAILBUS_CHANGED`, and the results of `railbus_table_set` except `RAILBUS_NO_SPACE`.
 */
int32_t railbus_table_compare_and_delete(struct railbus_table_writer *writer,
                                         const void *key,
                                         size_t key_bytes,
                                         uint64_t seen,
                                         uint64_t *version,
                                         struct railbus_error *error);

/**
 * Opens a reader of a table.
 *
 * `options` may be NULL. Close it with `railbus_table_reader_close`. Returns the results of
 * `railbus_table_writer_open`.
 */
int32_t railbus_table_reader_open(const struct railbus_channel *channel,
                                  const struct railbus_table_options *options,
                                  struct railbus_table_reader **reader,
                                  struct railbus_error *error);

/**
 * Closes a reader of a table. NULL is ignored.
 */
int32_t railbus_table_reader_close(struct railbus_table_reader *reader, struct railbus_error *error);

/**
 * Reads the value of a key. `key_bytes` is as for `railbus_table_set`. `value` says where the copy is;
 * it stays until the next call on this reader. Never waits.
 *
 * Returns `RAILBUS_ABSENT` if the key has no value, `RAILBUS_INVALID`, `RAILBUS_REMOVED`,
 * `RAILBUS_EVICTED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_table_get(struct railbus_table_reader *reader,
                          const void *key,
                          size_t key_bytes,
                          struct railbus_value *value,
                          struct railbus_error *error);

/**
 * Waits until a key is not of version `seen` any more, at most `timeout_ns`, where 0 looks once. A
 * `seen` of `RAILBUS_NONE` means that the key had no value. `value` is as for `railbus_table_get`.
 *
 * Returns `RAILBUS_TIMED_OUT`; `RAILBUS_ABSENT` if the key was deleted; and the other results of
 * `railbus_table_get`.
 */
int32_t railbus_table_wait_change(struct railbus_table_reader *reader,
                                  const void *key,
                                  size_t key_bytes,
                                  uint64_t seen,
                                  uint64_t timeout_ns,
                                  struct railbus_value *value,
                                  struct railbus_error *error);

/**
 * Reads all keys that have a value, in no order, a part at a time. Each value is whole. Changes that
 * are made in the meantime may be among them or not.
 *
 * `next` is 0 for the first part, and says where the next part begins; `RAILBUS_NONE` when there is no
 * more. `items` has room for `items_max` keys, `count` gets how many were read. Value i is copied to
 * `values + i * stride_bytes`; the stride must be at least `payload_max` of the channel's header.
 * `values` may be NULL: then only keys and versions are read.
 *
 * Returns `RAILBUS_INVALID`, and the results of `railbus_table_get`.
 */
int32_t railbus_table_get_all(struct railbus_table_reader *reader,
                              uint64_t *next,
                              struct railbus_table_item *items,
                              size_t items_max,
                              void *values,
                              size_t stride_bytes,
                              size_t *count,
                              struct railbus_error *error);

/**
 * Reads up to `items_max` keys that have changed since this reader reported them last, with their
 * newest values. At first these are all keys that have a value. Of several changes of one key, the last
 * is reported. There is no queue: a slow reader skips versions, and costs writers nothing.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. The places are those of
 * `railbus_table_get_all`. A key that was deleted has `RAILBUS_NONE` in `value_bytes`.
 *
 * Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_INVALID`, and the other results of
 * `railbus_table_get`.
 */
int32_t railbus_table_changes(struct railbus_table_reader *reader,
                              uint64_t timeout_ns,
                              struct railbus_table_item *items,
                              size_t items_max,
                              void *values,
                              size_t stride_bytes,
                              size_t *count,
                              struct railbus_error *error);

/**
 * Counts the keys that have a value now. Looks at every key that was ever used.
 *
 * Returns the results of `railbus_table_get`.
 */
int32_t railbus_table_count(struct railbus_table_reader *reader, size_t *keys, struct railbus_error *error);

/**
 * Opens a bridge for readers or workers of the channel, or readers of a table. Needs the rights of a
 * consumer.
 *
 * `descriptor` gets the descriptor to wait for. It belongs to the bridge: do not read, write or
 * close it. Close the bridge with `railbus_bridge_close`.
 */
int32_t railbus_bridge_open(const struct railbus_channel *channel,
                            struct railbus_bridge **bridge,
                            int *descriptor,
                            struct railbus_error *error);

/**
 * Closes a bridge and its descriptor. This takes some milliseconds. NULL is ignored.
 */
int32_t railbus_bridge_close(struct railbus_bridge *bridge, struct railbus_error *error);

/**
 * Makes the descriptor readable as soon as there is something for the reader, perhaps at once. Arm
 * it again each time.
 */
int32_t railbus_bridge_arm_reader(const struct railbus_bridge *bridge,
                                  const struct railbus_reader *reader,
                                  struct railbus_error *error);

/**
 * Makes the descriptor readable as soon as there is something for the worker, perhaps at once. Arm
 * it again each time.
 */
int32_t railbus_bridge_arm_worker(const struct railbus_bridge *bridge,
                                  const struct railbus_worker *worker,
                                  struct railbus_error *error);

/**
 * Makes the descriptor readable as soon as a key of the table has changed, perhaps at once. Call it
 * when `railbus_table_changes` has returned `RAILBUS_EMPTY`. Arm it again each time.
 */
int32_t railbus_bridge_arm_table(const struct railbus_bridge *bridge,
                                 struct railbus_table_reader *reader,
                                 struct railbus_error *error);

/**
 * Makes the descriptor unreadable again. Call it after the descriptor was readable.
 */
int32_t railbus_bridge_drain(const struct railbus_bridge *bridge, struct railbus_error *error);

/**
 * Takes a snapshot of the channel and of its registered participants. It registers nothing and
 * disturbs no participant. It needs the right to read both files, and takes some system calls for
 * each participant. If a participant may be stuck, the call watches it for the channel's
 * `stuck_after`, at most 2 s, before it reports that. If `stuck_after` is longer,
 * `RAILBUS_MAY_BE_STUCK` is set for the participants that may still be stuck after the watch.
 *
 * `info` may be NULL. Up to `participants_max` participants go to `participants`, which may be
 * NULL if that is 0. `participants_count`, which may be NULL, gets the number of all participants.
 *
 * Returns `RAILBUS_WRONG_LENGTH` if not all participants fit (the first ones are filled in),
 * `RAILBUS_NOT_FOUND` if the channel was removed, `RAILBUS_NOT_ALLOWED`.
 */
int32_t railbus_channel_inspect(const struct railbus_channel *channel,
                                struct railbus_channel_info *info,
                                struct railbus_participant *participants,
                                size_t participants_max,
                                size_t *participants_count,
                                struct railbus_error *error);

/**
 * Frees the entries of all dead participants, after it has repaired what they left. This is never
 * necessary, because a participant that waits repairs what is in its way. Durable subscriptions
 * are not touched. Safe at any time.
 *
 * `repaired` may be NULL.
 */
int32_t railbus_channel_repair(const struct railbus_channel *channel,
                               struct railbus_repaired *repaired,
                               struct railbus_error *error);

/**
 * Evicts a participant that lives but does not move. A reader holds nobody back any more, and its
 * next call reports the eviction. The events of a worker go to others, and its calls about them
 * are refused with `RAILBUS_EVICTED`. A sender writes in place, so its process is killed with
 * SIGKILL. A durable subscription without an owner is removed.
 *
 * `side` and `index` are those of a `railbus_participant`. `outcome`, which may be NULL, gets one
 * of `RAILBUS_EVICTED_`. The call waits up to `timeout_ns` until a killed process is gone, or
 * until a running worker has left the processor.
 *
 * Returns `RAILBUS_NOT_FOUND` if there is no such participant, `RAILBUS_INVALID` for a sender of
 * this process itself, `RAILBUS_NOT_ALLOWED`, `RAILBUS_TIMED_OUT`, `RAILBUS_BUSY`.
 */
int32_t railbus_channel_evict(const struct railbus_channel *channel,
                              uint32_t side,
                              uint32_t index,
                              uint64_t timeout_ns,
                              uint32_t *outcome,
                              struct railbus_error *error);

/**
 * Fills `journal` with the positions and the state of this channel's journal. Some system calls.
 *
 * Returns `RAILBUS_PEER_GONE` when nothing has ever recorded this channel.
 */
int32_t railbus_journal_positions(const struct railbus_channel *channel,
                                  struct railbus_journal *journal,
                                  struct railbus_error *error);

/**
 * Waits until the event at `position` is written: it is in the channel's journal and survives the
 * death of any process. `position` is that of the publishing call. The call waits at most
 * `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
 * everything is written; it is beyond `position`.
 *
 * Returns the results of `railbus_wait_durable`.
 */
int32_t railbus_wait_written(const struct railbus_channel *channel,
                             uint64_t position,
                             uint64_t timeout_ns,
                             uint64_t *reached,
                             struct railbus_error *error);

/**
 * Waits until the event at `position` is durable: it is in the channel's journal and survives the
 * death of the machine. `position` is that of the publishing call. The call waits at most
 * `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
 * everything is durable; it is beyond `position`.
 *
 * A journal with the sync policy `RAILBUS_SYNC_NEVER` makes nothing durable before it stops. For
 * such a journal, wait for written.
 *
 * Returns `RAILBUS_TIMED_OUT` or `RAILBUS_FORKED`. Returns `RAILBUS_PEER_GONE` at once when
 * nothing records this channel, when its journaller is dead or has stopped, or when the event is
 * in a gap of the journal. If the journal has failed, it returns the error of the disk at once:
 * `RAILBUS_IO`, `RAILBUS_NO_SPACE`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_wait_durable(const struct railbus_channel *channel,
                             uint64_t position,
                             uint64_t timeout_ns,
                             uint64_t *reached,
                             struct railbus_error *error);

/**
 * Publishes a copy of `payload_bytes` bytes, as `railbus_publish_with` does, and waits until the
 * event is durable in the channel's journal. `timeout_ns` bounds both together. `attributes` may
 * be NULL.
 *
 * `position`, which may be NULL, says how far the call came, whatever its result is. It gets
 * `RAILBUS_NONE` when nothing was published, and the event's position when it was published, even
 * if the wait failed. In that case it is not known whether the event will be durable: do not
 * publish it again, but call `railbus_wait_durable`.
 *
 * Returns the results of `railbus_publish` and `railbus_wait_durable`.
 */
int32_t railbus_publish_durable(struct railbus_sender *sender,
                                const void *payload,
                                size_t payload_bytes,
                                const struct railbus_attributes *attributes,
                                uint64_t timeout_ns,
                                uint64_t *position,
                                struct railbus_error *error);

/**
 * Recovers the channel's journal below the directory `journal` (it is `JOURNAL/BUS/CHANNEL`), or
 * begins one, and records from now on, in a thread of this process. The call takes as long as
 * recovery and the first segment file take.
 *
 * `journal_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. End it with
 * `railbus_recorder_stop`. If the process dies, the events that it had taken and not written are
 * kept for the next recorder.
 *
 * Returns `RAILBUS_BUSY` while another journaller records the channel or writes to the directory.
 * `RAILBUS_CORRUPT` names the damage. Also returns `RAILBUS_INVALID`, `RAILBUS_NO_SPACE`,
 * `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
 */
int32_t railbus_recorder_start(const struct railbus_channel *channel,
                               const char *journal,
                               size_t journal_bytes,
                               const struct railbus_recorder_options *options,
                               struct railbus_recorder **recorder,
                               struct railbus_error *error);

/**
 * Stops recording, and closes the handle. Events that were published before are written, made
 * durable and sealed. Waits for the disk. NULL is ignored.
 *
 * If the journal is poisoned, returns the failure that poisoned it; the handle is closed all the
 * same. In a `fork` child, where nothing records, returns `RAILBUS_FORKED`.
 */
int32_t railbus_recorder_stop(struct railbus_recorder *recorder, struct railbus_error *error);

/**
 * Opens the journal in `directory` (`JOURNAL/BUS/CHANNEL`) for reading, and finds the place to
 * begin. This takes milliseconds, whatever the size of the journal is.
 *
 * `directory_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. Close it with
 * `railbus_replay_close`.
 *
 * Returns `RAILBUS_NOT_FOUND` when there is no journal. Returns `RAILBUS_INVALID` when the
 * position is older than the events kept, or beyond the end, among others. Also returns
 * `RAILBUS_CORRUPT`, `RAILBUS_LAYOUT`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
 */
int32_t railbus_replay_open(const char *directory,
                            size_t directory_bytes,
                            const struct railbus_replay_options *options,
                            struct railbus_replay **replay,
                            struct railbus_error *error);

/**
 * Closes a replay. The events that it returned must not be read any more. NULL is ignored.
 */
int32_t railbus_replay_close(struct railbus_replay *replay, struct railbus_error *error);

/**
 * Returns the next event of a replay, in place: its payload may be read until the next call on
 * this replay.
 *
 * Waits at most `timeout_ns` until it is due: 0 does not wait. Reading the file is not counted.
 * `recorded_ns`, which may be NULL, gets the time at which it was recorded, in ns of
 * CLOCK_REALTIME.
 *
 * Returns `RAILBUS_END` at the end. If the journal is still being written, more events may come:
 * the next call looks again. Returns `RAILBUS_EMPTY` (timeout 0) and `RAILBUS_TIMED_OUT` when the
 * next event is not due yet. Returns `RAILBUS_LOST` for a gap in the journal; the next call goes
 * on after it. `lost_events` is `RAILBUS_NONE` when the number is not known. `RAILBUS_CORRUPT`
 * names the place. Also returns `RAILBUS_IO`, `RAILBUS_FORKED`.
 */
int32_t railbus_replay_next(struct railbus_replay *replay,
                            uint64_t timeout_ns,
                            struct railbus_event *event,
                            uint64_t *recorded_ns,
                            struct railbus_error *error);

/**
 * Returns up to `events_max` events of a replay that are due, held together: all payloads may be
 * read until the next call on this replay. A batch of many bytes may end earlier.
 *
 * Waits at most `timeout_ns` until the first one is due: 0 does not wait. `count` gets the number
 * of events, whatever the result is. `recorded_ns`, which may be NULL, has room for `events_max`
 * times, as `railbus_replay_next` returns them. If something else than an event, such as a gap,
 * ends the batch, the next call returns it.
 *
 * Returns the results of `railbus_replay_next`.
 */
int32_t railbus_replay_batch(struct railbus_replay *replay,
                             struct railbus_event *events,
                             uint64_t *recorded_ns,
                             size_t events_max,
                             uint64_t timeout_ns,
                             size_t *count,
                             struct railbus_error *error);

/**
 * Saves a consumer's state with the position that belongs to it, so that both come back together.
 * A consumer that is killed at any moment resumes with an old pair or a new one. The pairs lie in
 * the directory of the channel's journal, under `name`.
 *
 * `RAILBUS_CHECKPOINT_OPEN` takes `name` for this process (`name_bytes` may be
 * `RAILBUS_ZERO_TERMINATED`), makes the handle and fills `saved`. Its `number` is 0 when nothing
 * was saved yet, and `state` may be read until the next call on the handle. To go on, subscribe at
 * `position` (`RAILBUS_START_POSITION`, following the journal). `RAILBUS_CHECKPOINT_SAVE` saves
 * the `position`, `state` and `state_bytes` of `saved` durably, with two syncs. If it fails, the
 * pair that was saved before is still there. `RAILBUS_CHECKPOINT_CLOSE` closes the handle.
 * `channel` and `name` are for opening only: pass NULL and 0 otherwise. Closing ignores `saved`.
 *
 * Returns `RAILBUS_PEER_GONE` when nothing has ever recorded the channel, and `RAILBUS_BUSY` while
 * another process uses the name. Returns `RAILBUS_CORRUPT` when the saved pair is damaged. It does
 * so too when the channel was lost with its memory and made again, and the state contains events
 * that are not in the journal. Also returns `RAILBUS_NOT_FOUND`, `RAILBUS_NO_SPACE`,
 * `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`, `RAILBUS_FORKED`.
 */
int32_t railbus_checkpoint_call(struct railbus_checkpoint **checkpoint,
                                uint32_t operation,
                                const struct railbus_channel *channel,
                                const char *name,
                                size_t name_bytes,
                                struct railbus_saved *saved,
                                struct railbus_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Initialisers: the size, and zero for everything else. */

#define RAILBUS_BUS_OPTIONS_INIT \
    {sizeof(railbus_bus_options), RAILBUS_ABI_VERSION, RAILBUS_LAYOUT_FINGERPRINT, NULL, RAILBUS_ZERO_TERMINATED, 0, 0}

#define RAILBUS_CHANNEL_OPTIONS_INIT \
    {sizeof(railbus_channel_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, {0}, 0, 0, 0, 0, NULL, RAILBUS_ZERO_TERMINATED, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, 0, 0}

#define RAILBUS_CHANNEL_HEADER_INIT \
    {sizeof(railbus_channel_header), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}, {0}, {0}, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define RAILBUS_ATTRIBUTES_INIT \
    {sizeof(railbus_attributes), 0, 0, 0, 0, {0}, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0}

#define RAILBUS_SENDER_OPTIONS_INIT \
    {sizeof(railbus_sender_options), 0, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, 0}

#define RAILBUS_SENDER_STATS_INIT \
    {sizeof(railbus_sender_stats), 0, 0, 0, 0, 0, 0, {0}}

#define RAILBUS_READER_OPTIONS_INIT \
    {sizeof(railbus_reader_options), 0, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, 0, 0, 0, 0, 0}

#define RAILBUS_READER_STATS_INIT \
    {sizeof(railbus_reader_stats), 0, 0, 0, 0, 0}

#define RAILBUS_STRIDED_INIT \
    {sizeof(railbus_strided), 0, NULL, 0, 0, NULL, NULL, NULL, NULL}

#define RAILBUS_WORKER_OPTIONS_INIT \
    {sizeof(railbus_worker_options), 0, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, 0, 0, 0}

#define RAILBUS_WORKER_STATS_INIT \
    {sizeof(railbus_worker_stats), 0, 0, 0}

#define RAILBUS_TABLE_OPTIONS_INIT \
    {sizeof(railbus_table_options), 0, NULL, RAILBUS_ZERO_TERMINATED, 0}

#define RAILBUS_CHANNEL_INFO_INIT \
    {sizeof(railbus_channel_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define RAILBUS_REPAIRED_INIT \
    {sizeof(railbus_repaired), 0, 0, 0, 0, 0}

#define RAILBUS_JOURNAL_INIT \
    {sizeof(railbus_journal), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}}

#define RAILBUS_RECORDER_OPTIONS_INIT \
    {sizeof(railbus_recorder_options), 0, 0, 0, 0, 0, 0, 0, 0}

#define RAILBUS_REPLAY_OPTIONS_INIT \
    {sizeof(railbus_replay_options), 0, 0, 0, 0, 0, NULL, 0, 0, 0}

#define RAILBUS_SAVED_INIT \
    {sizeof(railbus_saved), 0, 0, NULL, 0, 0, 0, 0}

/* The structs are laid out as the library was compiled: the compiler checks it here. */
#ifdef __cplusplus
#define RAILBUS_ASSERT(name, fact) static_assert(fact, #name)
#else
#define RAILBUS_ASSERT(name, fact) typedef char railbus_assert_##name[(fact) ? 1 : -1]
#endif

RAILBUS_ASSERT(pointers, sizeof(void *) == 8 && sizeof(size_t) == 8);
RAILBUS_ASSERT(error, sizeof(railbus_error) == 288);
RAILBUS_ASSERT(error_code, offsetof(railbus_error, code) == 0);
RAILBUS_ASSERT(error_reserved, offsetof(railbus_error, reserved) == 4);
RAILBUS_ASSERT(error_lost_from, offsetof(railbus_error, lost_from) == 8);
RAILBUS_ASSERT(error_lost_to, offsetof(railbus_error, lost_to) == 16);
RAILBUS_ASSERT(error_lost_events, offsetof(railbus_error, lost_events) == 24);
RAILBUS_ASSERT(error_message, offsetof(railbus_error, message) == 32);
RAILBUS_ASSERT(bus_options, sizeof(railbus_bus_options) == 40);
RAILBUS_ASSERT(bus_options_struct_size, offsetof(railbus_bus_options, struct_size) == 0);
RAILBUS_ASSERT(bus_options_abi_version, offsetof(railbus_bus_options, abi_version) == 4);
RAILBUS_ASSERT(bus_options_layout_fingerprint, offsetof(railbus_bus_options, layout_fingerprint) == 8);
RAILBUS_ASSERT(bus_options_directory, offsetof(railbus_bus_options, directory) == 16);
RAILBUS_ASSERT(bus_options_directory_bytes, offsetof(railbus_bus_options, directory_bytes) == 24);
RAILBUS_ASSERT(bus_options_truncated_exit_code, offsetof(railbus_bus_options, truncated_exit_code) == 32);
RAILBUS_ASSERT(bus_options_reserved, offsetof(railbus_bus_options, reserved) == 36);
RAILBUS_ASSERT(channel_options, sizeof(railbus_channel_options) == 216);
RAILBUS_ASSERT(channel_options_struct_size, offsetof(railbus_channel_options, struct_size) == 0);
RAILBUS_ASSERT(channel_options_kind, offsetof(railbus_channel_options, kind) == 4);
RAILBUS_ASSERT(channel_options_flags, offsetof(railbus_channel_options, flags) == 8);
RAILBUS_ASSERT(channel_options_overflow, offsetof(railbus_channel_options, overflow) == 12);
RAILBUS_ASSERT(channel_options_capacity_bytes, offsetof(railbus_channel_options, capacity_bytes) == 16);
RAILBUS_ASSERT(channel_options_slots, offsetof(railbus_channel_options, slots) == 24);
RAILBUS_ASSERT(channel_options_slot_bytes, offsetof(railbus_channel_options, slot_bytes) == 32);
RAILBUS_ASSERT(channel_options_producers_max, offsetof(railbus_channel_options, producers_max) == 40);
RAILBUS_ASSERT(channel_options_consumers_max, offsetof(railbus_channel_options, consumers_max) == 44);
RAILBUS_ASSERT(channel_options_pages, offsetof(railbus_channel_options, pages) == 48);
RAILBUS_ASSERT(channel_options_numa_node, offsetof(railbus_channel_options, numa_node) == 52);
RAILBUS_ASSERT(channel_options_max_attempts, offsetof(railbus_channel_options, max_attempts) == 56);
RAILBUS_ASSERT(channel_options_ring_mode, offsetof(railbus_channel_options, ring_mode) == 60);
RAILBUS_ASSERT(channel_options_acks_mode, offsetof(railbus_channel_options, acks_mode) == 64);
RAILBUS_ASSERT(channel_options_owner, offsetof(railbus_channel_options, owner) == 68);
RAILBUS_ASSERT(channel_options_ring_group, offsetof(railbus_channel_options, ring_group) == 72);
RAILBUS_ASSERT(channel_options_acks_group, offsetof(railbus_channel_options, acks_group) == 76);
RAILBUS_ASSERT(channel_options_stuck_after_ns, offsetof(railbus_channel_options, stuck_after_ns) == 80);
RAILBUS_ASSERT(channel_options_dead_letters, offsetof(railbus_channel_options, dead_letters) == 88);
RAILBUS_ASSERT(channel_options_dead_letters_bytes, offsetof(railbus_channel_options, dead_letters_bytes) == 96);
RAILBUS_ASSERT(channel_options_first_position, offsetof(railbus_channel_options, first_position) == 104);
RAILBUS_ASSERT(channel_options_incarnation, offsetof(railbus_channel_options, incarnation) == 112);
RAILBUS_ASSERT(channel_options_channel_id, offsetof(railbus_channel_options, channel_id) == 120);
RAILBUS_ASSERT(channel_options_high_watermark, offsetof(railbus_channel_options, high_watermark) == 136);
RAILBUS_ASSERT(channel_options_low_watermark, offsetof(railbus_channel_options, low_watermark) == 140);
RAILBUS_ASSERT(channel_options_credits, offsetof(railbus_channel_options, credits) == 144);
RAILBUS_ASSERT(channel_options_reserved, offsetof(railbus_channel_options, reserved) == 148);
RAILBUS_ASSERT(channel_options_divert_to, offsetof(railbus_channel_options, divert_to) == 152);
RAILBUS_ASSERT(channel_options_divert_to_bytes, offsetof(railbus_channel_options, divert_to_bytes) == 160);
RAILBUS_ASSERT(channel_options_adopt, offsetof(railbus_channel_options, adopt) == 168);
RAILBUS_ASSERT(channel_options_adopt_bytes, offsetof(railbus_channel_options, adopt_bytes) == 176);
RAILBUS_ASSERT(channel_options_retry_delay_ns, offsetof(railbus_channel_options, retry_delay_ns) == 184);
RAILBUS_ASSERT(channel_options_retry_delay_max_ns, offsetof(railbus_channel_options, retry_delay_max_ns) == 192);
RAILBUS_ASSERT(channel_options_keys, offsetof(railbus_channel_options, keys) == 200);
RAILBUS_ASSERT(channel_options_value_bytes, offsetof(railbus_channel_options, value_bytes) == 208);
RAILBUS_ASSERT(channel_header, sizeof(railbus_channel_header) == 600);
RAILBUS_ASSERT(channel_header_struct_size, offsetof(railbus_channel_header, struct_size) == 0);
RAILBUS_ASSERT(channel_header_kind, offsetof(railbus_channel_header, kind) == 4);
RAILBUS_ASSERT(channel_header_overflow, offsetof(railbus_channel_header, overflow) == 8);
RAILBUS_ASSERT(channel_header_stamp, offsetof(railbus_channel_header, stamp) == 12);
RAILBUS_ASSERT(channel_header_payload_max, offsetof(railbus_channel_header, payload_max) == 16);
RAILBUS_ASSERT(channel_header_capacity_bytes, offsetof(railbus_channel_header, capacity_bytes) == 24);
RAILBUS_ASSERT(channel_header_slots, offsetof(railbus_channel_header, slots) == 32);
RAILBUS_ASSERT(channel_header_slot_bytes, offsetof(railbus_channel_header, slot_bytes) == 40);
RAILBUS_ASSERT(channel_header_page_bytes, offsetof(railbus_channel_header, page_bytes) == 48);
RAILBUS_ASSERT(channel_header_huge_pages, offsetof(railbus_channel_header, huge_pages) == 56);
RAILBUS_ASSERT(channel_header_numa_node, offsetof(railbus_channel_header, numa_node) == 60);
RAILBUS_ASSERT(channel_header_producers_max, offsetof(railbus_channel_header, producers_max) == 64);
RAILBUS_ASSERT(channel_header_consumers_max, offsetof(railbus_channel_header, consumers_max) == 68);
RAILBUS_ASSERT(channel_header_max_attempts, offsetof(railbus_channel_header, max_attempts) == 72);
RAILBUS_ASSERT(channel_header_creator_pid, offsetof(railbus_channel_header, creator_pid) == 76);
RAILBUS_ASSERT(channel_header_stuck_after_ns, offsetof(railbus_channel_header, stuck_after_ns) == 80);
RAILBUS_ASSERT(channel_header_first_position, offsetof(railbus_channel_header, first_position) == 88);
RAILBUS_ASSERT(channel_header_created_ns, offsetof(railbus_channel_header, created_ns) == 96);
RAILBUS_ASSERT(channel_header_incarnation, offsetof(railbus_channel_header, incarnation) == 104);
RAILBUS_ASSERT(channel_header_channel_id, offsetof(railbus_channel_header, channel_id) == 112);
RAILBUS_ASSERT(channel_header_bus, offsetof(railbus_channel_header, bus) == 128);
RAILBUS_ASSERT(channel_header_name, offsetof(railbus_channel_header, name) == 232);
RAILBUS_ASSERT(channel_header_dead_letters, offsetof(railbus_channel_header, dead_letters) == 336);
RAILBUS_ASSERT(channel_header_divert_to, offsetof(railbus_channel_header, divert_to) == 440);
RAILBUS_ASSERT(channel_header_high_watermark, offsetof(railbus_channel_header, high_watermark) == 544);
RAILBUS_ASSERT(channel_header_low_watermark, offsetof(railbus_channel_header, low_watermark) == 548);
RAILBUS_ASSERT(channel_header_credits, offsetof(railbus_channel_header, credits) == 552);
RAILBUS_ASSERT(channel_header_keyed, offsetof(railbus_channel_header, keyed) == 556);
RAILBUS_ASSERT(channel_header_unique, offsetof(railbus_channel_header, unique) == 560);
RAILBUS_ASSERT(channel_header_drop_expired, offsetof(railbus_channel_header, drop_expired) == 564);
RAILBUS_ASSERT(channel_header_retry_delay_ns, offsetof(railbus_channel_header, retry_delay_ns) == 568);
RAILBUS_ASSERT(channel_header_retry_delay_max_ns, offsetof(railbus_channel_header, retry_delay_max_ns) == 576);
RAILBUS_ASSERT(channel_header_keys, offsetof(railbus_channel_header, keys) == 584);
RAILBUS_ASSERT(channel_header_value_bytes, offsetof(railbus_channel_header, value_bytes) == 592);
RAILBUS_ASSERT(event, sizeof(railbus_event) == 24);
RAILBUS_ASSERT(event_payload, offsetof(railbus_event, payload) == 0);
RAILBUS_ASSERT(event_position, offsetof(railbus_event, position) == 8);
RAILBUS_ASSERT(event_payload_bytes, offsetof(railbus_event, payload_bytes) == 16);
RAILBUS_ASSERT(event_type_id, offsetof(railbus_event, type_id) == 20);
RAILBUS_ASSERT(event_flags, offsetof(railbus_event, flags) == 22);
RAILBUS_ASSERT(event_attempt, offsetof(railbus_event, attempt) == 23);
RAILBUS_ASSERT(bytes, sizeof(railbus_bytes) == 16);
RAILBUS_ASSERT(bytes_bytes, offsetof(railbus_bytes, bytes) == 0);
RAILBUS_ASSERT(bytes_count, offsetof(railbus_bytes, count) == 8);
RAILBUS_ASSERT(attributes, sizeof(railbus_attributes) == 136);
RAILBUS_ASSERT(attributes_struct_size, offsetof(railbus_attributes, struct_size) == 0);
RAILBUS_ASSERT(attributes_type_id, offsetof(railbus_attributes, type_id) == 4);
RAILBUS_ASSERT(attributes_flags, offsetof(railbus_attributes, flags) == 6);
RAILBUS_ASSERT(attributes_trace_flags, offsetof(railbus_attributes, trace_flags) == 7);
RAILBUS_ASSERT(attributes_published_ns, offsetof(railbus_attributes, published_ns) == 8);
RAILBUS_ASSERT(attributes_trace_id, offsetof(railbus_attributes, trace_id) == 16);
RAILBUS_ASSERT(attributes_span_id, offsetof(railbus_attributes, span_id) == 32);
RAILBUS_ASSERT(attributes_origin_channel, offsetof(railbus_attributes, origin_channel) == 40);
RAILBUS_ASSERT(attributes_origin_incarnation, offsetof(railbus_attributes, origin_incarnation) == 48);
RAILBUS_ASSERT(attributes_origin_position, offsetof(railbus_attributes, origin_position) == 56);
RAILBUS_ASSERT(attributes_origin_attempts, offsetof(railbus_attributes, origin_attempts) == 64);
RAILBUS_ASSERT(attributes_sequence_publisher, offsetof(railbus_attributes, sequence_publisher) == 72);
RAILBUS_ASSERT(attributes_sequence_number, offsetof(railbus_attributes, sequence_number) == 80);
RAILBUS_ASSERT(attributes_key, offsetof(railbus_attributes, key) == 88);
RAILBUS_ASSERT(attributes_not_before_ns, offsetof(railbus_attributes, not_before_ns) == 96);
RAILBUS_ASSERT(attributes_expires_ns, offsetof(railbus_attributes, expires_ns) == 104);
RAILBUS_ASSERT(attributes_unique_key, offsetof(railbus_attributes, unique_key) == 112);
RAILBUS_ASSERT(attributes_origin_expired, offsetof(railbus_attributes, origin_expired) == 128);
RAILBUS_ASSERT(attributes_reserved, offsetof(railbus_attributes, reserved) == 132);
RAILBUS_ASSERT(sender_options, sizeof(railbus_sender_options) == 40);
RAILBUS_ASSERT(sender_options_struct_size, offsetof(railbus_sender_options, struct_size) == 0);
RAILBUS_ASSERT(sender_options_flags, offsetof(railbus_sender_options, flags) == 4);
RAILBUS_ASSERT(sender_options_name, offsetof(railbus_sender_options, name) == 8);
RAILBUS_ASSERT(sender_options_name_bytes, offsetof(railbus_sender_options, name_bytes) == 16);
RAILBUS_ASSERT(sender_options_wait, offsetof(railbus_sender_options, wait) == 24);
RAILBUS_ASSERT(sender_options_reserved, offsetof(railbus_sender_options, reserved) == 28);
RAILBUS_ASSERT(sender_options_spin_ns, offsetof(railbus_sender_options, spin_ns) == 32);
RAILBUS_ASSERT(sender_stats, sizeof(railbus_sender_stats) == 304);
RAILBUS_ASSERT(sender_stats_struct_size, offsetof(railbus_sender_stats, struct_size) == 0);
RAILBUS_ASSERT(sender_stats_under_pressure, offsetof(railbus_sender_stats, under_pressure) == 4);
RAILBUS_ASSERT(sender_stats_events, offsetof(railbus_sender_stats, events) == 8);
RAILBUS_ASSERT(sender_stats_dropped, offsetof(railbus_sender_stats, dropped) == 16);
RAILBUS_ASSERT(sender_stats_payload_max, offsetof(railbus_sender_stats, payload_max) == 24);
RAILBUS_ASSERT(sender_stats_resume_point, offsetof(railbus_sender_stats, resume_point) == 32);
RAILBUS_ASSERT(sender_stats_diverted, offsetof(railbus_sender_stats, diverted) == 40);
RAILBUS_ASSERT(sender_stats_refusal, offsetof(railbus_sender_stats, refusal) == 48);
RAILBUS_ASSERT(reader_options, sizeof(railbus_reader_options) == 64);
RAILBUS_ASSERT(reader_options_struct_size, offsetof(railbus_reader_options, struct_size) == 0);
RAILBUS_ASSERT(reader_options_flags, offsetof(railbus_reader_options, flags) == 4);
RAILBUS_ASSERT(reader_options_name, offsetof(railbus_reader_options, name) == 8);
RAILBUS_ASSERT(reader_options_name_bytes, offsetof(railbus_reader_options, name_bytes) == 16);
RAILBUS_ASSERT(reader_options_wait, offsetof(railbus_reader_options, wait) == 24);
RAILBUS_ASSERT(reader_options_start, offsetof(railbus_reader_options, start) == 28);
RAILBUS_ASSERT(reader_options_spin_ns, offsetof(railbus_reader_options, spin_ns) == 32);
RAILBUS_ASSERT(reader_options_position, offsetof(railbus_reader_options, position) == 40);
RAILBUS_ASSERT(reader_options_time_ns, offsetof(railbus_reader_options, time_ns) == 48);
RAILBUS_ASSERT(reader_options_follow, offsetof(railbus_reader_options, follow) == 56);
RAILBUS_ASSERT(reader_options_reserved, offsetof(railbus_reader_options, reserved) == 60);
RAILBUS_ASSERT(reader_stats, sizeof(railbus_reader_stats) == 40);
RAILBUS_ASSERT(reader_stats_struct_size, offsetof(railbus_reader_stats, struct_size) == 0);
RAILBUS_ASSERT(reader_stats_reserved, offsetof(railbus_reader_stats, reserved) == 4);
RAILBUS_ASSERT(reader_stats_events, offsetof(railbus_reader_stats, events) == 8);
RAILBUS_ASSERT(reader_stats_lost, offsetof(railbus_reader_stats, lost) == 16);
RAILBUS_ASSERT(reader_stats_position, offsetof(railbus_reader_stats, position) == 24);
RAILBUS_ASSERT(reader_stats_acknowledged, offsetof(railbus_reader_stats, acknowledged) == 32);
RAILBUS_ASSERT(strided, sizeof(railbus_strided) == 64);
RAILBUS_ASSERT(strided_struct_size, offsetof(railbus_strided, struct_size) == 0);
RAILBUS_ASSERT(strided_reserved, offsetof(railbus_strided, reserved) == 4);
RAILBUS_ASSERT(strided_payloads, offsetof(railbus_strided, payloads) == 8);
RAILBUS_ASSERT(strided_stride_bytes, offsetof(railbus_strided, stride_bytes) == 16);
RAILBUS_ASSERT(strided_events_max, offsetof(railbus_strided, events_max) == 24);
RAILBUS_ASSERT(strided_lengths, offsetof(railbus_strided, lengths) == 32);
RAILBUS_ASSERT(strided_positions, offsetof(railbus_strided, positions) == 40);
RAILBUS_ASSERT(strided_type_ids, offsetof(railbus_strided, type_ids) == 48);
RAILBUS_ASSERT(strided_published_ns, offsetof(railbus_strided, published_ns) == 56);
RAILBUS_ASSERT(worker_options, sizeof(railbus_worker_options) == 48);
RAILBUS_ASSERT(worker_options_struct_size, offsetof(railbus_worker_options, struct_size) == 0);
RAILBUS_ASSERT(worker_options_flags, offsetof(railbus_worker_options, flags) == 4);
RAILBUS_ASSERT(worker_options_name, offsetof(railbus_worker_options, name) == 8);
RAILBUS_ASSERT(worker_options_name_bytes, offsetof(railbus_worker_options, name_bytes) == 16);
RAILBUS_ASSERT(worker_options_wait, offsetof(railbus_worker_options, wait) == 24);
RAILBUS_ASSERT(worker_options_grab, offsetof(railbus_worker_options, grab) == 28);
RAILBUS_ASSERT(worker_options_spin_ns, offsetof(railbus_worker_options, spin_ns) == 32);
RAILBUS_ASSERT(worker_options_priority, offsetof(railbus_worker_options, priority) == 40);
RAILBUS_ASSERT(worker_options_in_hand_max, offsetof(railbus_worker_options, in_hand_max) == 44);
RAILBUS_ASSERT(worker_stats, sizeof(railbus_worker_stats) == 24);
RAILBUS_ASSERT(worker_stats_struct_size, offsetof(railbus_worker_stats, struct_size) == 0);
RAILBUS_ASSERT(worker_stats_reserved, offsetof(railbus_worker_stats, reserved) == 4);
RAILBUS_ASSERT(worker_stats_events, offsetof(railbus_worker_stats, events) == 8);
RAILBUS_ASSERT(worker_stats_in_hand, offsetof(railbus_worker_stats, in_hand) == 16);
RAILBUS_ASSERT(job, sizeof(railbus_job) == 32);
RAILBUS_ASSERT(job_event, offsetof(railbus_job, event) == 0);
RAILBUS_ASSERT(job_token, offsetof(railbus_job, token) == 24);
RAILBUS_ASSERT(table_options, sizeof(railbus_table_options) == 32);
RAILBUS_ASSERT(table_options_struct_size, offsetof(railbus_table_options, struct_size) == 0);
RAILBUS_ASSERT(table_options_wait, offsetof(railbus_table_options, wait) == 4);
RAILBUS_ASSERT(table_options_name, offsetof(railbus_table_options, name) == 8);
RAILBUS_ASSERT(table_options_name_bytes, offsetof(railbus_table_options, name_bytes) == 16);
RAILBUS_ASSERT(table_options_spin_ns, offsetof(railbus_table_options, spin_ns) == 24);
RAILBUS_ASSERT(value, sizeof(railbus_value) == 24);
RAILBUS_ASSERT(value_bytes, offsetof(railbus_value, bytes) == 0);
RAILBUS_ASSERT(value_count, offsetof(railbus_value, count) == 8);
RAILBUS_ASSERT(value_version, offsetof(railbus_value, version) == 16);
RAILBUS_ASSERT(table_item, sizeof(railbus_table_item) == 88);
RAILBUS_ASSERT(table_item_key, offsetof(railbus_table_item, key) == 0);
RAILBUS_ASSERT(table_item_key_bytes, offsetof(railbus_table_item, key_bytes) == 64);
RAILBUS_ASSERT(table_item_version, offsetof(railbus_table_item, version) == 72);
RAILBUS_ASSERT(table_item_value_bytes, offsetof(railbus_table_item, value_bytes) == 80);
RAILBUS_ASSERT(channel_info, sizeof(railbus_channel_info) == 144);
RAILBUS_ASSERT(channel_info_struct_size, offsetof(railbus_channel_info, struct_size) == 0);
RAILBUS_ASSERT(channel_info_memory_locked, offsetof(railbus_channel_info, memory_locked) == 4);
RAILBUS_ASSERT(channel_info_published, offsetof(railbus_channel_info, published) == 8);
RAILBUS_ASSERT(channel_info_oldest, offsetof(railbus_channel_info, oldest) == 16);
RAILBUS_ASSERT(channel_info_head, offsetof(railbus_channel_info, head) == 24);
RAILBUS_ASSERT(channel_info_depth, offsetof(railbus_channel_info, depth) == 32);
RAILBUS_ASSERT(channel_info_capacity, offsetof(railbus_channel_info, capacity) == 40);
RAILBUS_ASSERT(channel_info_unfinished, offsetof(railbus_channel_info, unfinished) == 48);
RAILBUS_ASSERT(channel_info_dropped, offsetof(railbus_channel_info, dropped) == 56);
RAILBUS_ASSERT(channel_info_redelivered, offsetof(railbus_channel_info, redelivered) == 64);
RAILBUS_ASSERT(channel_info_dead_lettered, offsetof(railbus_channel_info, dead_lettered) == 72);
RAILBUS_ASSERT(channel_info_total_bytes, offsetof(railbus_channel_info, total_bytes) == 80);
RAILBUS_ASSERT(channel_info_page_bytes, offsetof(railbus_channel_info, page_bytes) == 88);
RAILBUS_ASSERT(channel_info_huge_bytes, offsetof(railbus_channel_info, huge_bytes) == 96);
RAILBUS_ASSERT(channel_info_ring_uid, offsetof(railbus_channel_info, ring_uid) == 104);
RAILBUS_ASSERT(channel_info_ring_gid, offsetof(railbus_channel_info, ring_gid) == 108);
RAILBUS_ASSERT(channel_info_ring_mode, offsetof(railbus_channel_info, ring_mode) == 112);
RAILBUS_ASSERT(channel_info_acks_uid, offsetof(railbus_channel_info, acks_uid) == 116);
RAILBUS_ASSERT(channel_info_acks_gid, offsetof(railbus_channel_info, acks_gid) == 120);
RAILBUS_ASSERT(channel_info_acks_mode, offsetof(railbus_channel_info, acks_mode) == 124);
RAILBUS_ASSERT(channel_info_expired, offsetof(railbus_channel_info, expired) == 128);
RAILBUS_ASSERT(channel_info_not_due, offsetof(railbus_channel_info, not_due) == 136);
RAILBUS_ASSERT(participant, sizeof(railbus_participant) == 216);
RAILBUS_ASSERT(participant_side, offsetof(railbus_participant, side) == 0);
RAILBUS_ASSERT(participant_index, offsetof(railbus_participant, index) == 4);
RAILBUS_ASSERT(participant_role, offsetof(railbus_participant, role) == 8);
RAILBUS_ASSERT(participant_life, offsetof(railbus_participant, life) == 12);
RAILBUS_ASSERT(participant_flags, offsetof(railbus_participant, flags) == 16);
RAILBUS_ASSERT(participant_pid, offsetof(railbus_participant, pid) == 20);
RAILBUS_ASSERT(participant_tid, offsetof(railbus_participant, tid) == 24);
RAILBUS_ASSERT(participant_reserved, offsetof(railbus_participant, reserved) == 28);
RAILBUS_ASSERT(participant_start_time, offsetof(railbus_participant, start_time) == 32);
RAILBUS_ASSERT(participant_cursor, offsetof(railbus_participant, cursor) == 40);
RAILBUS_ASSERT(participant_position, offsetof(railbus_participant, position) == 48);
RAILBUS_ASSERT(participant_lag, offsetof(railbus_participant, lag) == 56);
RAILBUS_ASSERT(participant_in_hand, offsetof(railbus_participant, in_hand) == 64);
RAILBUS_ASSERT(participant_events, offsetof(railbus_participant, events) == 72);
RAILBUS_ASSERT(participant_bytes, offsetof(railbus_participant, bytes) == 80);
RAILBUS_ASSERT(participant_lost, offsetof(railbus_participant, lost) == 88);
RAILBUS_ASSERT(participant_dropped, offsetof(railbus_participant, dropped) == 96);
RAILBUS_ASSERT(participant_attached_ns, offsetof(railbus_participant, attached_ns) == 104);
RAILBUS_ASSERT(participant_seen_ns, offsetof(railbus_participant, seen_ns) == 112);
RAILBUS_ASSERT(participant_waiting_ns, offsetof(railbus_participant, waiting_ns) == 120);
RAILBUS_ASSERT(participant_waiting_for, offsetof(railbus_participant, waiting_for) == 128);
RAILBUS_ASSERT(participant_stuck_ns, offsetof(railbus_participant, stuck_ns) == 136);
RAILBUS_ASSERT(participant_name, offsetof(railbus_participant, name) == 144);
RAILBUS_ASSERT(repaired, sizeof(railbus_repaired) == 40);
RAILBUS_ASSERT(repaired_struct_size, offsetof(railbus_repaired, struct_size) == 0);
RAILBUS_ASSERT(repaired_skipped, offsetof(railbus_repaired, skipped) == 4);
RAILBUS_ASSERT(repaired_buried, offsetof(railbus_repaired, buried) == 8);
RAILBUS_ASSERT(repaired_unsettled, offsetof(railbus_repaired, unsettled) == 16);
RAILBUS_ASSERT(repaired_aborted, offsetof(railbus_repaired, aborted) == 24);
RAILBUS_ASSERT(repaired_redone, offsetof(railbus_repaired, redone) == 32);
RAILBUS_ASSERT(journal, sizeof(railbus_journal) == 1624);
RAILBUS_ASSERT(journal_struct_size, offsetof(railbus_journal, struct_size) == 0);
RAILBUS_ASSERT(journal_state, offsetof(railbus_journal, state) == 4);
RAILBUS_ASSERT(journal_written, offsetof(railbus_journal, written) == 8);
RAILBUS_ASSERT(journal_durable, offsetof(railbus_journal, durable) == 16);
RAILBUS_ASSERT(journal_end, offsetof(railbus_journal, end) == 24);
RAILBUS_ASSERT(journal_first, offsetof(railbus_journal, first) == 32);
RAILBUS_ASSERT(journal_started_ns, offsetof(railbus_journal, started_ns) == 40);
RAILBUS_ASSERT(journal_events, offsetof(railbus_journal, events) == 48);
RAILBUS_ASSERT(journal_bytes, offsetof(railbus_journal, bytes) == 56);
RAILBUS_ASSERT(journal_gaps, offsetof(railbus_journal, gaps) == 64);
RAILBUS_ASSERT(journal_lost, offsetof(railbus_journal, lost) == 72);
RAILBUS_ASSERT(journal_pid, offsetof(railbus_journal, pid) == 80);
RAILBUS_ASSERT(journal_no_space, offsetof(railbus_journal, no_space) == 84);
RAILBUS_ASSERT(journal_directory, offsetof(railbus_journal, directory) == 88);
RAILBUS_ASSERT(journal_failure, offsetof(railbus_journal, failure) == 1112);
RAILBUS_ASSERT(recorder_options, sizeof(railbus_recorder_options) == 56);
RAILBUS_ASSERT(recorder_options_struct_size, offsetof(railbus_recorder_options, struct_size) == 0);
RAILBUS_ASSERT(recorder_options_flags, offsetof(railbus_recorder_options, flags) == 4);
RAILBUS_ASSERT(recorder_options_sync, offsetof(railbus_recorder_options, sync) == 8);
RAILBUS_ASSERT(recorder_options_codec, offsetof(railbus_recorder_options, codec) == 12);
RAILBUS_ASSERT(recorder_options_sync_interval_ns, offsetof(railbus_recorder_options, sync_interval_ns) == 16);
RAILBUS_ASSERT(recorder_options_segment_bytes, offsetof(railbus_recorder_options, segment_bytes) == 24);
RAILBUS_ASSERT(recorder_options_staging_bytes, offsetof(railbus_recorder_options, staging_bytes) == 32);
RAILBUS_ASSERT(recorder_options_keep_bytes, offsetof(railbus_recorder_options, keep_bytes) == 40);
RAILBUS_ASSERT(recorder_options_keep_ns, offsetof(railbus_recorder_options, keep_ns) == 48);
RAILBUS_ASSERT(replay_options, sizeof(railbus_replay_options) == 64);
RAILBUS_ASSERT(replay_options_struct_size, offsetof(railbus_replay_options, struct_size) == 0);
RAILBUS_ASSERT(replay_options_flags, offsetof(railbus_replay_options, flags) == 4);
RAILBUS_ASSERT(replay_options_from_what, offsetof(railbus_replay_options, from_what) == 8);
RAILBUS_ASSERT(replay_options_to_what, offsetof(railbus_replay_options, to_what) == 12);
RAILBUS_ASSERT(replay_options_from, offsetof(railbus_replay_options, from) == 16);
RAILBUS_ASSERT(replay_options_to, offsetof(railbus_replay_options, to) == 24);
RAILBUS_ASSERT(replay_options_type_ids, offsetof(railbus_replay_options, type_ids) == 32);
RAILBUS_ASSERT(replay_options_type_ids_count, offsetof(railbus_replay_options, type_ids_count) == 40);
RAILBUS_ASSERT(replay_options_speed, offsetof(railbus_replay_options, speed) == 48);
RAILBUS_ASSERT(replay_options_rate, offsetof(railbus_replay_options, rate) == 56);
RAILBUS_ASSERT(saved, sizeof(railbus_saved) == 56);
RAILBUS_ASSERT(saved_struct_size, offsetof(railbus_saved, struct_size) == 0);
RAILBUS_ASSERT(saved_reserved, offsetof(railbus_saved, reserved) == 4);
RAILBUS_ASSERT(saved_position, offsetof(railbus_saved, position) == 8);
RAILBUS_ASSERT(saved_state, offsetof(railbus_saved, state) == 16);
RAILBUS_ASSERT(saved_state_bytes, offsetof(railbus_saved, state_bytes) == 24);
RAILBUS_ASSERT(saved_number, offsetof(railbus_saved, number) == 32);
RAILBUS_ASSERT(saved_time_ns, offsetof(railbus_saved, time_ns) == 40);
RAILBUS_ASSERT(saved_incarnation, offsetof(railbus_saved, incarnation) == 48);

#endif  /* RAILBUS_H */
