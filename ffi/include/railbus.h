/*
 * railbus: events between processes of one Linux host through shared memory, at the speed of the cache-coherence
 * protocol.
 *
 * Results. Functions return RAILBUS_OK (0), a positive number for an ordinary answer of a bus at work (no event, no
 * room, events lost), or a negative one for an error. The last argument is a struct of the caller's, or NULL, that
 * gets the reason in words.
 *
 * Handles (railbus_bus, railbus_channel, railbus_sender, railbus_reader, railbus_worker, railbus_bridge,
 * railbus_recorder, railbus_replay, railbus_checkpoint) are made by an open or start function and closed by theirs.
 * Each is one thing of its own: closing a channel closes nothing that was opened from it. A handle that was closed is
 * told from an open one (RAILBUS_CLOSED_HANDLE) until some 64 others of its type were closed after it and it is used for
 * another; this finds mistakes, do not rely on it.
 *
 * Threads. A sender, reader, worker, replay or checkpoint is used by one thread at a time; it may go from thread to
 * thread. Buses, channels and bridges may be used by several threads at once, but by none while they are closed.
 *
 * Fork. A child has none of its parent's handles: calls return RAILBUS_FORKED; closing is allowed. It opens its own.
 *
 * Waiting. Every timeout_ns is a limit: 0 does not wait and makes no system call but to wake a sleeper;
 * RAILBUS_FOREVER waits without end. A signal does not end a wait: whoever must look up now and then (a signal
 * handler's flag, Python, a Go context) waits in slices of, say, 50 ms, and calls again on RAILBUS_TIMED_OUT.
 *
 * Views. What a reader gives out lies in shared memory until the next call on that reader that receives, releases or
 * closes; what a worker took, until it is done, handed back, or the worker closed. The memory is read-only. What a replay
 * gives out lies in this process, until the next call on it.
 *
 * Journals. A recorder in a program, or the daemon `railbus journald`, writes what is published to disk. Positions say how
 * far it is: publish, then railbus_wait_durable; or both as one, railbus_publish_durable. railbus_replay_open reads a
 * journal; a reader with `follow` begins there and goes on into the ring.
 *
 * Structs that begin with struct_size are initialised with their INIT macros, and may grow in later versions. Text is
 * UTF-8, given as a pointer and a number of bytes, or RAILBUS_ZERO_TERMINATED in its place.
 *
 * Pointers are valid for what the function does with them; where NULL is allowed, it is said.
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
#define RAILBUS_LAYOUT_FINGERPRINT 0x3505f777a8409671ULL

/**
 * Version of the library that this header belongs to.
 */
#define RAILBUS_VERSION "0.1.0"

/**
 * In place of a number of bytes: the text ends with a zero byte.
 */
#define RAILBUS_ZERO_TERMINATED SIZE_MAX

/**
 * Success.
 */
#define RAILBUS_OK 0

/**
 * There is no event now. Answered to a timeout of 0 only; leaves the error struct alone.
 */
#define RAILBUS_EMPTY 1

/**
 * There is no room now; nothing was published. Answered to a timeout of 0 only; leaves the error struct alone.
 */
#define RAILBUS_FULL 2

/**
 * The timeout passed: no event came, or there was no room. Leaves the error struct alone when it was waiting for
 * events or room.
 */
#define RAILBUS_TIMED_OUT 3

/**
 * The channel is full and its creator chose to drop the newest, or to divert it where there is no room either: the
 * event was counted as dropped.
 */
#define RAILBUS_DROPPED 4

/**
 * Events are missing, exactly those from `lost_from` up to `lost_to` of the error struct. The next call goes on
 * behind them.
 */
#define RAILBUS_LOST 5

/**
 * The last publisher has left and everything was read. Only for readers and workers opened with
 * `RAILBUS_UNTIL_CLOSED`.
 */
#define RAILBUS_CLOSED 6

/**
 * The channel has a numbered event of this publisher with this number, or a higher one, already: it was left out.
 */
#define RAILBUS_PUBLISHED_BEFORE 7

/**
 * A replay has come to its end.
 */
#define RAILBUS_END 8

/**
 * The channel is full and its creator chose to divert: the event is in the other channel, and not in this one.
 */
#define RAILBUS_DIVERTED 9

/**
 * An argument is out of its range, or contradicts another.
 */
#define RAILBUS_INVALID -1

/**
 * No such bus, channel, participant or journal.
 */
#define RAILBUS_NOT_FOUND -2

/**
 * It exists and was to be made anew, or is of another kind or size.
 */
#define RAILBUS_EXISTS -3

/**
 * The rights of this process do not allow it.
 */
#define RAILBUS_NOT_ALLOWED -4

/**
 * The channel was made by another layout of railbus.
 */
#define RAILBUS_LAYOUT -5

/**
 * Shared memory or a file holds what no correct peer writes.
 */
#define RAILBUS_CORRUPT -6

/**
 * Memory or space is not there.
 */
#define RAILBUS_NO_SPACE -7

/**
 * Huge pages were required and cannot be had.
 */
#define RAILBUS_NO_HUGE_PAGES -8

/**
 * Somebody holds what there is one of: the stream's publisher, a durable name, the last registry entry.
 */
#define RAILBUS_BUSY -9

/**
 * A peer that is needed has died or left.
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
 * This participant was evicted; what it held may have gone to another. Open it again.
 */
#define RAILBUS_EVICTED -13

/**
 * The event is larger than this channel takes.
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
 * The buffer given is too small, or of another size than the event.
 */
#define RAILBUS_WRONG_LENGTH -17

/**
 * This worker does not hold the event: it is done, was handed back, or is another worker's.
 */
#define RAILBUS_NOT_HELD -18

/**
 * The sender's claim is in the way (or missing): commit or abort it first (or make one).
 */
#define RAILBUS_CLAIM -19

/**
 * The header and the library are of different versions.
 */
#define RAILBUS_WRONG_VERSION -20

/**
 * The channel was removed while this participant was attached, and everything in it was read: nobody finds it any more.
 * Attach again.
 */
#define RAILBUS_REMOVED -21

/**
 * The sender does not number its events: open it with a name and `RAILBUS_SEQUENCED`.
 */
#define RAILBUS_NOT_SEQUENCED -22

/**
 * A bug in railbus: it panicked. The handle can only be closed.
 */
#define RAILBUS_PANIC -23

/**
 * Bytes of `railbus_error.message`.
 */
#define RAILBUS_MESSAGE_BYTES 256

/**
 * Version of the C ABI: programs compiled with another do not fit this library.
 */
#define RAILBUS_ABI_VERSION 1



/**
 * A timeout, in ns, that never passes. Publishing then does what the channel's creator chose for a full channel:
 * wait, or drop the event and answer `RAILBUS_DROPPED`.
 */
#define RAILBUS_FOREVER UINT64_MAX

/**
 * Wait: poll for 50 us, then sleep until woken. Costs about no processor time while idle.
 */
#define RAILBUS_WAIT_DEFAULT 0

/**
 * Wait: poll without end. The lowest latency, at the price of a core.
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
 * Kind: many producers, many workers, each event handled by one worker.
 */
#define RAILBUS_QUEUE 2

/**
 * Kind: many publishers, many subscribers, every subscriber sees every event, all in one order.
 */
#define RAILBUS_TOPIC 3

/**
 * Overflow: publishing waits as long as the caller allows. The default.
 */
#define RAILBUS_OVERFLOW_BLOCK 1

/**
 * Overflow: publishing with `RAILBUS_FOREVER` drops the event and counts it.
 */
#define RAILBUS_OVERFLOW_DROP_NEWEST 2

/**
 * Overflow: there always is room. The channel takes lossy readers only, who lose the oldest.
 */
#define RAILBUS_OVERFLOW_LOSSY_READERS 3

/**
 * Overflow: publishing with `RAILBUS_FOREVER` publishes the event in another channel, and counts it; drops and counts
 * it when that is full as well.
 */
#define RAILBUS_OVERFLOW_DIVERT 4

/**
 * Pages: huge ones if they can be had, for data of at least 2 MiB. The default.
 */
#define RAILBUS_PAGES_AUTO 0

/**
 * Pages: as auto, and data below 2 MiB also get a page of hugetlbfs.
 */
#define RAILBUS_PAGES_2MIB 1

/**
 * Pages: 1 GiB of hugetlbfs, else 2 MiB.
 */
#define RAILBUS_PAGES_1GIB 2

/**
 * Pages: ordinary ones.
 */
#define RAILBUS_PAGES_ORDINARY 3

/**
 * Channel option: events carry the time they were published at.
 */
#define RAILBUS_STAMP 1

/**
 * Channel option: anything but huge pages is an error.
 */
#define RAILBUS_REQUIRE_HUGE 2

/**
 * Channel option: do not lock the channel in memory.
 */
#define RAILBUS_NO_MEMORY_LOCK 4

/**
 * Channel option: `numa_node` is meant.
 */
#define RAILBUS_ON_NUMA_NODE 8

/**
 * Channel option: `owner` is meant.
 */
#define RAILBUS_WITH_OWNER 16

/**
 * Channel option: `ring_group` is meant.
 */
#define RAILBUS_WITH_RING_GROUP 32

/**
 * Channel option: `acks_group` is meant.
 */
#define RAILBUS_WITH_ACKS_GROUP 64

/**
 * Channel option: `channel_id` is meant.
 */
#define RAILBUS_WITH_CHANNEL_ID 128

/**
 * Channel option: a queue's events with the same key are worked on one after the other, in order.
 */
#define RAILBUS_KEYED 256

/**
 * Channel option: the channel is made with the subscription of a journaller, so that it is recorded from its
 * first event on. Its events are kept until a recorder or `railbus journald` has written them: without one,
 * publishers wait when the channel is full. Not with `RAILBUS_OVERFLOW_LOSSY_READERS`.
 */
#define RAILBUS_JOURNALED 512

/**
 * The event carries the time it was published at.
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
 * Sender option: evict a live reader that has held this sender back, without moving, for longer than the channel's
 * `stuck_after_ns`. Durable subscriptions are never evicted. Needs the rights of a consumer.
 */
#define RAILBUS_EVICT_STUCK 1

/**
 * Sender option: this sender numbers its events itself, under its name, which it must have and shares with no other
 * live one: see `railbus_publish_numbered`.
 */
#define RAILBUS_SEQUENCED 2

/**
 * A reader does not read the journal. The default.
 */
#define RAILBUS_FOLLOW_NOT 0

/**
 * A reader begins in the channel's journal, and goes on into the ring. In the ring it holds publishers back like any
 * reader that is not lossy.
 */
#define RAILBUS_FOLLOW_HOLD 1

/**
 * A reader begins in the channel's journal, and goes on into the ring. It never holds a publisher back: overrun in the
 * ring, it reads on from the journal. Not durable, and not for queues.
 */
#define RAILBUS_FOLLOW_READ_JOURNAL 2

/**
 * Reader option: the subscription outlives its owner. Its cursor holds events back until the name comes again.
 */
#define RAILBUS_DURABLE 1

/**
 * Reader option: lose events, exactly reported, rather than ever hold a publisher back.
 */
#define RAILBUS_LOSSY 2

/**
 * Reader and worker option: receiving ends with `RAILBUS_CLOSED` when the last publisher has left and everything was
 * read (done, for a worker).
 */
#define RAILBUS_UNTIL_CLOSED 4

/**
 * Reader option: the cursor moves by `railbus_acknowledge_to` only. What was received and not acknowledged stays in the
 * ring, holds publishers back, and comes again to whoever resumes a durable subscription. Not with `RAILBUS_LOSSY`, and not
 * for readers that follow the journal.
 */
#define RAILBUS_MANUAL 8

/**
 * Start: behind everything published so far. The default.
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
 * In place of a number that does not apply.
 */
#define RAILBUS_NONE UINT64_MAX

/**
 * Side: those who publish.
 */
#define RAILBUS_PRODUCERS 1

/**
 * Side: those who receive.
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
 * Role: reads a queue without taking.
 */
#define RAILBUS_ROLE_TAP 4

/**
 * Life: its process lives.
 */
#define RAILBUS_LIVE 1

/**
 * Life: it died; what it left is repaired by whoever meets it.
 */
#define RAILBUS_DEAD 2

/**
 * Life: a durable subscription without an owner: its cursor holds events back.
 */
#define RAILBUS_HELD 3

/**
 * Life: it lives but was evicted, and is told when it next looks.
 */
#define RAILBUS_LIFE_EVICTED 4

/**
 * Participant: whether it is stuck is not known. It was not seen to move, and the channel's `stuck_after` is
 * longer than the look.
 */
#define RAILBUS_MAY_BE_STUCK (1 << 16)

/**
 * Evicted: the reader holds nobody back any more, and is told when it next looks.
 */
#define RAILBUS_EVICTED_TOLD 1

/**
 * Evicted: the worker's events are handed to others, its `railbus_done` is refused, and it is told when it next looks.
 */
#define RAILBUS_EVICTED_FENCED 5

/**
 * Evicted: a durable subscription without an owner is forgotten.
 */
#define RAILBUS_EVICTED_FORGOTTEN 2

/**
 * Evicted: the process was killed.
 */
#define RAILBUS_EVICTED_KILLED 3

/**
 * Evicted: its process had died before.
 */
#define RAILBUS_EVICTED_DEAD 4

/**
 * Journal: its journaller is recovering what is there.
 */
#define RAILBUS_JOURNAL_STARTING 1

/**
 * Journal: it records.
 */
#define RAILBUS_JOURNAL_RECORDING 2

/**
 * Journal: its journaller was told to stop, and writes what it still has.
 */
#define RAILBUS_JOURNAL_DRAINING 3

/**
 * Journal: its journaller has stopped; everything it took is durable.
 */
#define RAILBUS_JOURNAL_STOPPED 4

/**
 * Journal: the disk failed; nothing more is recorded until a journaller starts anew.
 */
#define RAILBUS_JOURNAL_POISONED 5

/**
 * Journal: its journaller has died; the next one goes on.
 */
#define RAILBUS_JOURNAL_DEAD 6

/**
 * Sync: what is written is made durable at once, as fast as the disk can. The default.
 */
#define RAILBUS_SYNC_ALWAYS 0

/**
 * Sync: every `sync_interval_ns`.
 */
#define RAILBUS_SYNC_INTERVAL 1

/**
 * Sync: when the journal stops. A machine that dies may take what was written before.
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
 * Recorder option: lose events, exactly recorded as a gap, rather than ever hold a publisher back. Not for queues.
 */
#define RAILBUS_RECORD_LOSSY 1

/**
 * Recorder option: while the disk is full, let events go, recorded as a gap; otherwise publishers wait.
 */
#define RAILBUS_RECORD_DROP_WHEN_FULL 2

/**
 * Where a replay begins or ends: with the journal. The default.
 */
#define RAILBUS_AT_JOURNAL 0

/**
 * Where a replay begins or ends: at a position.
 */
#define RAILBUS_AT_POSITION 1

/**
 * Where a replay begins or ends: at what was recorded at a time, in ns of CLOCK_REALTIME, or later.
 */
#define RAILBUS_AT_TIME 2

/**
 * Replay option: again and again, without end.
 */
#define RAILBUS_REPEAT 1

/**
 * `railbus_checkpoint_call`: takes a name, and tells what was saved last.
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
 * A file descriptor that becomes readable when there is something to receive. A thread of the library waits in the
 * reader's place, and adds its wake-up to the latency: readers that count nanoseconds poll.
 *
 * Receive until `RAILBUS_EMPTY`, arm the bridge, wait for the descriptor, drain the bridge, and again. An armed bridge's
 * descriptor also becomes readable after about 100 ms of nothing: the receive that follows meets what wakes nobody, such as
 * a worker that was killed with an event in hand, or the last publisher's leaving. May be used by several threads at once.
 */
typedef struct railbus_bridge railbus_bridge;

/**
 * A bus: a named set of channels. May be used by several threads at once.
 */
typedef struct railbus_bus railbus_bus;

/**
 * A channel that is open. It takes no part yet: senders, readers and workers are opened from it, and outlive it. May
 * be used by several threads at once.
 */
typedef struct railbus_channel railbus_channel;

/**
 * The checkpoints of one name, which is this process's while it is open. Used by one thread at a time, not after `fork`.
 */
typedef struct railbus_checkpoint railbus_checkpoint;

/**
 * Whoever receives without taking: a subscriber of a stream or topic, a tap of a queue. Used by one thread at a time,
 * not after `fork`.
 */
typedef struct railbus_reader railbus_reader;

/**
 * Records a channel, in a thread of this process. May be stopped by any thread.
 */
typedef struct railbus_recorder railbus_recorder;

/**
 * A replay under way. Used by one thread at a time, not after `fork`. It only reads the journal's files, also while they
 * are being written, and holds nobody back.
 */
typedef struct railbus_replay railbus_replay;

/**
 * Whoever publishes: a stream's publisher, a topic's, or a queue's producer. Used by one thread at a time, not after
 * `fork`.
 */
typedef struct railbus_sender railbus_sender;

/**
 * Whoever takes events from a queue. Used by one thread at a time, not after `fork`.
 */
typedef struct railbus_worker railbus_worker;

/**
 * What went wrong, in words. Owned by the caller; need not be initialised. Every function takes NULL instead.
 *
 * It is written when a function returns anything but `RAILBUS_OK`, `RAILBUS_EMPTY`, `RAILBUS_FULL` and
 * `RAILBUS_TIMED_OUT` of an event or of room: those are too frequent and too clear to be described.
 */
typedef struct railbus_error {
    /**
     * What the function returned.
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
     * `RAILBUS_LOST`: the first position behind the gap.
     */
    uint64_t lost_to;
    /**
     * `RAILBUS_LOST`: how many events the gap holds; `RAILBUS_NONE` if it is in a journal and nobody knows.
     */
    uint64_t lost_events;
    /**
     * What failed, on which object, why, and what to do. UTF-8, zero-terminated, cut if too long.
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
     * `RAILBUS_ABI_VERSION` of the header the program was compiled with; 0 is not checked.
     */
    uint32_t abi_version;
    /**
     * `RAILBUS_LAYOUT_FINGERPRINT` of the header; 0 is not checked.
     */
    uint64_t layout_fingerprint;
    /**
     * The directory of all buses, on tmpfs; NULL is `$RAILBUS_DIR`, or else `/dev/shm/railbus`. It, and channels that this
     * process takes part in, must belong to its user, to root, or to the user in `$RAILBUS_OWNER`.
     */
    const char *directory;
    /**
     * Bytes of `directory`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t directory_bytes;
    /**
     * If not 0: from now on this *process* ends with this exit code (1 to 255) when it touches a channel's
     * file that somebody has truncated and that it opens from now on. It says on standard error which file
     * it was. Nothing else runs: no exit handlers, and what is buffered for output is lost. With 0 the
     * process ends by SIGBUS then.
     *
     * It replaces the process's handler of SIGBUS, which keeps getting the signals about other addresses.
     * The last bus that is opened with an exit code counts.
     */
    uint32_t truncated_exit_code;
    /**
     * Zero.
     */
    uint32_t reserved;
} railbus_bus_options;

/**
 * What a new channel is to be like. Initialise it with `RAILBUS_CHANNEL_OPTIONS_INIT` and set `kind`; zero is the
 * default of everything else.
 */
typedef struct railbus_channel_options {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_STREAM`, `RAILBUS_QUEUE` or `RAILBUS_TOPIC`.
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
     * Queue, topic: bytes of a slot with its 16 bytes of header, a power of two from 64 to 2^20; 0 is 256.
     */
    uint64_t slot_bytes;
    /**
     * Producers at once, 1 to 255; 0 is 64 (a stream has one).
     */
    uint32_t producers_max;
    /**
     * Consumers at once, 1 to 255; 0 is 64.
     */
    uint32_t consumers_max;
    /**
     * One of `RAILBUS_PAGES_`.
     */
    uint32_t pages;
    /**
     * With `RAILBUS_ON_NUMA_NODE`: the node to lie on.
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
     * Queue with `max_attempts`: the queue of the same bus that takes dead letters; NULL is the queue's name with
     * ".dead" behind it. It is made if it is missing.
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
     * Counts re-creations of the same identity; 0 is 1.
     */
    uint64_t incarnation;
    /**
     * With `RAILBUS_WITH_CHANNEL_ID`: the identity, when this re-creates a channel; random otherwise.
     */
    uint8_t channel_id[16];
    /**
     * Percent of the capacity from which on producers are told that they are under pressure; 0 is never.
     */
    uint32_t high_watermark;
    /**
     * Percent of the capacity, less than that, down to which they are told so.
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
     * With `RAILBUS_OVERFLOW_DIVERT`: the queue or topic of the same bus that takes what finds no room; it must be
     * there, and have larger slots.
     */
    const char *divert_to;
    /**
     * Bytes of `divert_to`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t divert_to_bytes;
    /**
     * For `railbus_channel_create`: the directory of this channel's journal that was set aside,
     * JOURNAL/BUS/NAME~ID. It is put back in its place, and the channel is made again from it, with the
     * options that it had: all other fields are not looked at. The journal that was there is set aside;
     * nothing is deleted. NULL is none.
     */
    const char *adopt;
    /**
     * Bytes of `adopt`, or `RAILBUS_ZERO_TERMINATED`.
     */
    size_t adopt_bytes;
} railbus_channel_options;

/**
 * What a channel's creator decided. Initialise `struct_size` before it is filled.
 */
typedef struct railbus_channel_header {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * `RAILBUS_STREAM`, `RAILBUS_QUEUE` or `RAILBUS_TOPIC`.
     */
    uint32_t kind;
    /**
     * One of `RAILBUS_OVERFLOW_`.
     */
    uint32_t overflow;
    /**
     * Whether events carry the time they were published at: 0 or 1.
     */
    uint32_t stamp;
    /**
     * Largest payload in bytes, without a trace context or origin.
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
     * Size of the pages behind the data that the creator saw.
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
     * Producers at once.
     */
    uint32_t producers_max;
    /**
     * Consumers at once.
     */
    uint32_t consumers_max;
    /**
     * Queue: deliveries before an event is a dead letter; 0 is without limit.
     */
    uint32_t max_attempts;
    /**
     * Process that made the channel.
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
     * Counts re-creations of the same identity, from 1. (channel_id, incarnation, position) is an event's own for
     * ever.
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
     * Name of the channel that takes what finds no room, zero-terminated; empty if none.
     */
    char divert_to[104];
    /**
     * Percent of the capacity from which on producers are under pressure; 0 is never.
     */
    uint32_t high_watermark;
    /**
     * Percent of the capacity down to which they are.
     */
    uint32_t low_watermark;
    /**
     * Unfinished events that one producer may have in the ring; 0 is without limit.
     */
    uint32_t credits;
    /**
     * Whether a queue's events with the same key are worked on one after the other: 0 or 1.
     */
    uint32_t keyed;
} railbus_channel_header;

/**
 * An event. Its bytes lie in the ring itself, or in the reader's own buffer if that is lossy, and must not be
 * written. How long they stay is said by the function that gave it. This struct does not grow.
 */
typedef struct railbus_event {
    /**
     * The payload; aligned to 8 bytes. Never NULL.
     */
    const uint8_t *payload;
    /**
     * Where it is in its channel: a byte offset in a stream, a ticket in a queue or topic. Never wraps.
     */
    uint64_t position;
    /**
     * Bytes of the payload; may be 0.
     */
    uint32_t payload_bytes;
    /**
     * The type its publisher gave it, 0 if none.
     */
    uint16_t type_id;
    /**
     * `RAILBUS_HAS_TIME` and others, or-ed together; `railbus_event_attributes` reads what they name.
     */
    uint8_t flags;
    /**
     * Queue: which delivery this is, counted from 1; it stays at 64. Else 0.
     */
    uint8_t attempt;
} railbus_event;

/**
 * What travels with a payload. Initialise it with `RAILBUS_ATTRIBUTES_INIT`.
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
     * Which of the following are meant: `RAILBUS_HAS_TIME`, `RAILBUS_HAS_TRACE`, `RAILBUS_HAS_ORIGIN`,
     * `RAILBUS_HAS_SEQUENCE`, `RAILBUS_HAS_KEY`, `RAILBUS_REPLAYED`, or-ed together.
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
     * Dead letter: how often it was delivered in vain.
     */
    uint64_t origin_attempts;
    /**
     * Numbered event: its publisher, a hash of the name.
     */
    uint64_t sequence_publisher;
    /**
     * Numbered event: its number.
     */
    uint64_t sequence_number;
    /**
     * Event with a key: a queue with `RAILBUS_KEYED` works on events with one key one after the other, in order. Of
     * bytes, take their 64-bit FNV-1a, as the command line does.
     */
    uint64_t key;
} railbus_attributes;

/**
 * How a sender behaves. Initialise it with `RAILBUS_SENDER_OPTIONS_INIT`; zero is the default of everything.
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
     * How long to poll first, in ns.
     */
    uint64_t spin_ns;
} railbus_sender_options;

/**
 * What a sender has done. Initialise `struct_size` before it is filled.
 */
typedef struct railbus_sender_stats {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Whether the channel is under pressure: from when its depth reaches the high watermark until it is down to the low
     * one. 0 or 1.
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
     * `RAILBUS_SEQUENCED`: the number of the last event that the channel has of this sender's name, 0 if none: where a
     * publisher that was killed goes on. `RAILBUS_NONE` otherwise.
     */
    uint64_t resume_point;
    /**
     * Events of this handle that went to the channel that this one diverts to.
     */
    uint64_t diverted;
    /**
     * Why there was no room, the last time that this handle found none: who was in the way, and how far behind it is
     * now. Zero-terminated, cut if too long; empty if there always was room.
     */
    char refusal[256];
} railbus_sender_stats;

/**
 * Bytes somewhere in the caller's memory. This struct does not grow.
 */
typedef struct railbus_bytes {
    /**
     * Where; NULL only if there are none.
     */
    const uint8_t *bytes;
    /**
     * How many.
     */
    size_t count;
} railbus_bytes;

/**
 * How a reader behaves. Initialise it with `RAILBUS_READER_OPTIONS_INIT`; zero is the default of everything.
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
     * A name, at most 64 bytes: for observers, or the identity of a durable subscription; may be NULL.
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
     * How long to poll first, in ns.
     */
    uint64_t spin_ns;
    /**
     * With `RAILBUS_START_POSITION`: where.
     */
    uint64_t position;
    /**
     * With `RAILBUS_START_TIME`: when, in ns of CLOCK_REALTIME.
     */
    uint64_t time_ns;
    /**
     * Whether to begin in the channel's journal: one of `RAILBUS_FOLLOW_`. Then `RAILBUS_START_OLDEST` is the journal's
     * oldest event, and a position may be any that is in the journal.
     */
    uint32_t follow;
    /**
     * Zero.
     */
    uint32_t reserved;
} railbus_reader_options;

/**
 * What a reader has done. Initialise `struct_size` before it is filled.
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
     * The position of the next event that this reader will give out.
     */
    uint64_t position;
    /**
     * Everything before this position was acknowledged. `RAILBUS_NONE` for a reader that follows the journal.
     */
    uint64_t acknowledged;
} railbus_reader_stats;

/**
 * Where to copy events to: one every `stride_bytes`. Initialise it with `RAILBUS_STRIDED_INIT`.
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
     * The largest payload that fits, and the distance of two.
     */
    size_t stride_bytes;
    /**
     * How many events there is room for.
     */
    size_t events_max;
    /**
     * Bytes of each payload. If NULL, every payload must have exactly `stride_bytes`.
     */
    uint32_t *lengths;
    /**
     * Position of each event; may be NULL.
     */
    uint64_t *positions;
    /**
     * Type id of each event; may be NULL.
     */
    uint16_t *type_ids;
    /**
     * When each event was published, in ns of CLOCK_REALTIME, 0 if it does not say; may be NULL.
     */
    uint64_t *published_ns;
} railbus_strided;

/**
 * How a worker behaves. Initialise it with `RAILBUS_WORKER_OPTIONS_INIT`; zero is the default of everything.
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
     * How many events to take from the ring at once, 1 to 64. More is faster with one worker, and less fair between
     * several, because what one has taken no other can. 0, the default, follows the load.
     */
    uint32_t grab;
    /**
     * How long to poll first, in ns.
     */
    uint64_t spin_ns;
    /**
     * Priority level, 0 to 255: 0 is served first; a lower level gets events only while every worker above it has as many
     * in hand as it may, or does not move.
     */
    uint32_t priority;
    /**
     * Most events in this worker's hands, 1 to 65535: a take beyond returns `RAILBUS_BUSY`. 0 is no bound on level 0,
     * and 1 on the levels below.
     */
    uint32_t in_hand_max;
} railbus_worker_options;

/**
 * An event in a worker's hands. This struct does not grow.
 */
typedef struct railbus_job {
    /**
     * The event, in place.
     */
    struct railbus_event event;
    /**
     * The library's; leave it as it is.
     */
    uint64_t token;
} railbus_job;

/**
 * What a worker has done. Initialise `struct_size` before it is filled.
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
     * Events in this worker's hands.
     */
    uint64_t in_hand;
} railbus_worker_stats;

/**
 * A snapshot of a channel. Initialise `struct_size` before it is filled. Positions are bytes in a stream, tickets in
 * a queue or topic.
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
     * What waits: not taken yet (queue), or not read yet by the slowest reader that holds producers back.
     */
    uint64_t depth;
    /**
     * The most that fits: bytes of a stream, slots of a queue or topic.
     */
    uint64_t capacity;
    /**
     * Queue: events that no worker has done yet, or `RAILBUS_NONE`.
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
     * Bytes of the data that are seen in huge pages.
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
} railbus_channel_info;

/**
 * Somebody who is registered. This struct does not grow.
 */
typedef struct railbus_participant {
    /**
     * `RAILBUS_PRODUCERS` or `RAILBUS_CONSUMERS`.
     */
    uint32_t side;
    /**
     * Its place on that side: what `railbus_channel_evict` takes.
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
     * Its process.
     */
    uint32_t pid;
    /**
     * The thread that opened it.
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
     * Readers: everything before this was read; else `RAILBUS_NONE`.
     */
    uint64_t cursor;
    /**
     * A stream's publisher: the next position it writes; else `RAILBUS_NONE`.
     */
    uint64_t position;
    /**
     * Readers: how far the cursor is behind what is published; else `RAILBUS_NONE`.
     */
    uint64_t lag;
    /**
     * Tickets claimed and not finished.
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
     * Readers: events lost to overrun; producers: events dropped.
     */
    uint64_t lost;
    /**
     * How long ago it was opened, in ns.
     */
    uint64_t attached_ns;
    /**
     * How long ago it last noted the time, in ns.
     */
    uint64_t seen_ns;
    /**
     * For how long it has been waiting for room, in ns; `RAILBUS_NONE` if it is not.
     */
    uint64_t waiting_ns;
    /**
     * Which position it waits for; `RAILBUS_NONE` if it does not.
     */
    uint64_t waiting_for;
    /**
     * For how long it has not moved though others wait for it, in ns; `RAILBUS_NONE` if it is not stuck.
     */
    uint64_t stuck_ns;
    /**
     * Its name, zero-terminated.
     */
    char name[72];
} railbus_participant;

/**
 * What a repair did. Initialise `struct_size` before it is filled.
 */
typedef struct railbus_repaired {
    /**
     * Size of this struct in bytes.
     */
    uint32_t struct_size;
    /**
     * Sides that this process may not write, and that were left alone.
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
 * How far the journal of a channel is. Initialise `struct_size` before it is filled. A position here is exclusive:
 * everything before it is in the journal.
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
     * Events recorded since then.
     */
    uint64_t events;
    /**
     * Their bytes.
     */
    uint64_t bytes;
    /**
     * Gaps since then: lossy overruns, a full disk, what a dead journaller lost.
     */
    uint64_t gaps;
    /**
     * Events in those gaps, as far as they could be counted.
     */
    uint64_t lost;
    /**
     * The journaller's process.
     */
    uint32_t pid;
    /**
     * Whether the disk is full at the moment: 0 or 1.
     */
    uint32_t no_space;
    /**
     * Where the journal is: what `railbus_replay_open` takes. Zero-terminated.
     */
    char directory[1024];
    /**
     * What poisoned it; empty if nothing did. UTF-8, zero-terminated.
     */
    char failure[512];
} railbus_journal;

/**
 * How a channel is to be recorded. Initialise it with `RAILBUS_RECORDER_OPTIONS_INIT`; zero is the default of everything.
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
     * When what is written is made durable: one of `RAILBUS_SYNC_`.
     */
    uint32_t sync;
    /**
     * Compression: one of `RAILBUS_CODEC_`.
     */
    uint32_t codec;
    /**
     * With `RAILBUS_SYNC_INTERVAL`: how often, in ns; at least 1.
     */
    uint64_t sync_interval_ns;
    /**
     * Size of a segment file in bytes: a multiple of 4096, 272 KiB to 64 GiB; 0 is 256 MiB.
     */
    uint64_t segment_bytes;
    /**
     * How much may be taken from the ring and not yet be written, in bytes: a multiple of 256 KiB, 1 MiB to 1 GiB; 0 is
     * sized to the channel, as four of its rings, 1 to 16 MiB. A stall of the disk costs this much, and then the ring, before a publisher feels it.
     */
    uint64_t staging_bytes;
    /**
     * Remove the oldest segments while there are more bytes than this; 0 keeps everything.
     */
    uint64_t keep_bytes;
    /**
     * Remove segments that were recorded longer ago than this, in ns; 0 keeps everything.
     */
    uint64_t keep_ns;
} railbus_recorder_options;

/**
 * What to replay, and how fast. Initialise it with `RAILBUS_REPLAY_OPTIONS_INIT`; zero is the default of everything.
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
     * What `from` is: one of `RAILBUS_AT_`.
     */
    uint32_t from_what;
    /**
     * What `to` is: one of `RAILBUS_AT_`.
     */
    uint32_t to_what;
    /**
     * The position or time to begin at. A position must be in the journal; the first event at or behind it is the first.
     */
    uint64_t from;
    /**
     * The position or time to end at, which is not part of it.
     */
    uint64_t to;
    /**
     * Only events of these type ids; NULL for all.
     */
    const uint16_t *type_ids;
    /**
     * How many type ids there are.
     */
    size_t type_ids_count;
    /**
     * How many times as fast as recorded, 0.000001 to 1000000; 0 is as fast as it goes. Not with `rate`.
     */
    double speed;
    /**
     * Events a second, 0.001 to 1000000000, whatever their times; 0 is as `speed` says.
     */
    double rate;
} railbus_replay_options;

/**
 * What is saved: a consumer's state, and the position that it is of. Initialise it with `RAILBUS_SAVED_INIT`.
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
     * The position to go on at: the effect of everything before it is in the state.
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
     * Which save of this name it was, from 1; 0 when nothing was saved yet. Told, not taken.
     */
    uint64_t number;
    /**
     * When it was saved, in ns of CLOCK_REALTIME. Told, not taken.
     */
    uint64_t time_ns;
    /**
     * The incarnation of the channel that the position is of. Told, not taken.
     */
    uint64_t incarnation;
} railbus_saved;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A few words for a result, such as "there is no room now"; never NULL, and never freed.
 */
const char *railbus_describe(int32_t code);

/**
 * The version of the library, such as "0.1.0"; never freed.
 */
const char *railbus_version(void);

/**
 * The fingerprint of the layout of shared memory that the library was built for. A channel with another is refused
 * with `RAILBUS_LAYOUT`.
 */
uint64_t railbus_layout_fingerprint(void);

/**
 * Whether the library fits the header: call it as `railbus_check_abi(RAILBUS_ABI_VERSION,
 * RAILBUS_LAYOUT_FINGERPRINT, &error)`. `railbus_bus_open` does so with what its options hold.
 *
 * Returns `RAILBUS_WRONG_VERSION` if not.
 */
int32_t railbus_check_abi(uint32_t abi_version, uint64_t layout_fingerprint, struct railbus_error *error);

/**
 * Opens the bus `name`. Nothing is made on disk before a channel is.
 *
 * `name` has 1 to 100 bytes of UTF-8 without `/` and control characters and does not start with a dot; `name_bytes`
 * may be `RAILBUS_ZERO_TERMINATED`. `options` may be NULL. Close it with `railbus_bus_close`.
 *
 * Returns `RAILBUS_INVALID` for a bad name, `RAILBUS_WRONG_VERSION` if header and library do not fit.
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
 * Writes the names of the bus's channels, sorted, each with a zero byte behind it, to `names`.
 *
 * `needed` gets the bytes of all of them. Returns `RAILBUS_WRONG_LENGTH`, with `names` untouched, when `names_bytes`
 * is less than that.
 */
int32_t railbus_bus_list(const struct railbus_bus *bus,
                         char *names,
                         size_t names_bytes,
                         size_t *needed,
                         struct railbus_error *error);

/**
 * Removes a channel. Those who have it open keep it until they leave, but nobody finds it any more.
 *
 * Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`.
 */
int32_t railbus_bus_remove(const struct railbus_bus *bus,
                           const char *channel,
                           size_t channel_bytes,
                           struct railbus_error *error);

/**
 * Makes a channel: allocates and faults in all its memory, about 0.3 s for a GiB.
 *
 * Close it with `railbus_channel_close`. Returns `RAILBUS_EXISTS`, `RAILBUS_INVALID`, `RAILBUS_NO_SPACE`,
 * `RAILBUS_NO_HUGE_PAGES`, `RAILBUS_NOT_ALLOWED`; with `adopt` also `RAILBUS_BUSY` while the channel is
 * there or somebody writes to one of the journals, and `RAILBUS_NOT_FOUND` without a journal there.
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
 * Close it with `railbus_channel_close`. Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_LAYOUT`,
 * `RAILBUS_CORRUPT`.
 */
int32_t railbus_channel_attach(const struct railbus_bus *bus,
                               const char *name,
                               size_t name_bytes,
                               struct railbus_channel **channel,
                               struct railbus_error *error);

/**
 * Attaches to a channel, or makes it if there is none. Of several processes that do this, one creates.
 *
 * A channel that is there must have every option that is not zero as it is given. Options that are zero are not
 * compared, nor is `pages`, which is a wish.
 *
 * Returns what `railbus_channel_create` and `railbus_channel_attach` do; `RAILBUS_EXISTS` when it is there with other
 * options, each of which the error names.
 */
int32_t railbus_channel_create_or_attach(const struct railbus_bus *bus,
                                         const char *name,
                                         size_t name_bytes,
                                         const struct railbus_channel_options *options,
                                         struct railbus_channel **channel,
                                         struct railbus_error *error);

/**
 * Closes a channel. What was opened from it stays open. NULL is ignored.
 */
int32_t railbus_channel_close(struct railbus_channel *channel, struct railbus_error *error);

/**
 * Fills `header` with what the channel's creator decided. No system call.
 */
int32_t railbus_channel_describe(const struct railbus_channel *channel,
                                 struct railbus_channel_header *header,
                                 struct railbus_error *error);

/**
 * Reads what an event carries beside its payload, as long as the payload may be read: time, trace context, origin,
 * number, key. What its `flags` do not name is zero.
 */
int32_t railbus_event_attributes(const struct railbus_event *event,
                                 struct railbus_attributes *attributes,
                                 struct railbus_error *error);

/**
 * Opens a sender of the channel, whatever its kind: the publisher of a stream, a publisher of a topic, a producer of
 * a queue. A stream's publisher goes on where the last one left, or died.
 *
 * `options` may be NULL. Close it with `railbus_sender_close`. Returns `RAILBUS_BUSY` while a stream has another live
 * publisher, or when every place is taken; `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
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
 * Counts the live readers (subscribers, workers, taps) that have joined: they receive what is published from now on.
 * A system call for each.
 */
int32_t railbus_sender_readers(struct railbus_sender *sender,
                               size_t *readers,
                               struct railbus_error *error);

/**
 * Fills `stats` with what this sender has done. No system call.
 */
int32_t railbus_sender_statistics(struct railbus_sender *sender,
                                  struct railbus_sender_stats *stats,
                                  struct railbus_error *error);

/**
 * Publishes a copy of `payload_bytes` bytes.
 *
 * Waits at most `timeout_ns` for room: 0 does not wait, `RAILBUS_FOREVER` does what the channel's creator chose. The
 * event's position goes to `position`, which may be NULL.
 *
 * Returns `RAILBUS_FULL` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_DROPPED`, `RAILBUS_TOO_LONG`,
 * `RAILBUS_NO_WORKER`, `RAILBUS_FORKED`: nothing was published then. `RAILBUS_DIVERTED`: it was published in the channel
 * that this one diverts to, and `position` is its position there.
 */
int32_t railbus_publish(struct railbus_sender *sender,
                        const void *payload,
                        size_t payload_bytes,
                        uint64_t timeout_ns,
                        uint64_t *position,
                        struct railbus_error *error);

/**
 * As `railbus_publish`, with a type id, trace context, time or origin; `attributes` may be NULL.
 */
int32_t railbus_publish_with(struct railbus_sender *sender,
                             const void *payload,
                             size_t payload_bytes,
                             const struct railbus_attributes *attributes,
                             uint64_t timeout_ns,
                             uint64_t *position,
                             struct railbus_error *error);

/**
 * Publishes event `number` of this sender's name, as `railbus_publish_with` does. Numbers count up from 1, with gaps or
 * without.
 *
 * The number is kept in the channel: a publisher that is killed at any instruction, opens again under its name and
 * publishes everything anew from its resume point (`railbus_sender_statistics`), or from before it, leaves out nothing
 * and publishes nothing twice. (In a queue or topic whose other producers have gone round the whole ring in between, the
 * one event that was in work may come twice, with the same number.) Readers find name and number by
 * `railbus_event_attributes`.
 *
 * It is never diverted: it waits where others would be. Returns `RAILBUS_PUBLISHED_BEFORE` for a number that the channel has already, `RAILBUS_NOT_SEQUENCED`, and what
 * `railbus_publish` does.
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
 * Publishes copies of `count` payloads, in order. A batch costs one look for sleeping readers and, in a queue or
 * topic, one step of the shared tail for up to 64 events; readers may see it a few at a time.
 *
 * Waits at most `timeout_ns` for room for all of them: 0 publishes as many as there is room for. `published`, which
 * may be NULL, gets how many were, in any case. A batch waits also where single events would be dropped.
 *
 * Returns `RAILBUS_FULL` (timeout 0) or `RAILBUS_TIMED_OUT` if not all were published; `RAILBUS_TOO_LONG`, with none
 * published, if one of them is.
 */
int32_t railbus_publish_batch(struct railbus_sender *sender,
                              const struct railbus_bytes *payloads,
                              size_t count,
                              uint64_t timeout_ns,
                              size_t *published,
                              struct railbus_error *error);

/**
 * Publishes copies of `count` payloads that lie `stride_bytes` apart, from `payloads` on, as `railbus_publish_batch`
 * does. Payload i has `lengths[i]` bytes; all have `stride_bytes` if `lengths` is NULL.
 *
 * Returns what `railbus_publish_batch` does; `RAILBUS_INVALID` if a length is larger than the stride.
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
 * Claims room for a payload of `payload_bytes`, to be written in place; `payload` gets where, aligned to 8 bytes. The
 * bytes are what the ring held before.
 *
 * Fill them with ordinary stores by this process, not by asynchronous I/O, and then call `railbus_commit`, or
 * `railbus_abort`. Until then no other call on this sender is allowed (`RAILBUS_CLAIM`), but closing. Waits as
 * `railbus_publish` does. `attributes` may be NULL.
 *
 * Returns what `railbus_publish` does; but what is written in place is not diverted: `RAILBUS_FULL` instead.
 */
int32_t railbus_claim(struct railbus_sender *sender,
                      size_t payload_bytes,
                      const struct railbus_attributes *attributes,
                      uint64_t timeout_ns,
                      void **payload,
                      struct railbus_error *error);

/**
 * Publishes the claimed event with the first `payload_bytes` bytes of its payload, at most what was claimed. Its
 * position goes to `position`, which may be NULL.
 *
 * Returns `RAILBUS_CLAIM` if there is no claim; `RAILBUS_TOO_LONG`, with the claim still open, if it is smaller.
 */
int32_t railbus_commit(struct railbus_sender *sender,
                       size_t payload_bytes,
                       uint64_t *position,
                       struct railbus_error *error);

/**
 * Gives a claim back. Nothing of it was ever visible. Returns `RAILBUS_CLAIM` if there is none.
 */
int32_t railbus_abort(struct railbus_sender *sender, struct railbus_error *error);

/**
 * Opens a reader of the channel: a subscriber of a stream or topic, or a tap of a queue, which sees every event and
 * takes none.
 *
 * With `follow` it begins in the channel's journal, wherever that is, and goes on into the ring, without a gap and without
 * a duplicate. Such a reader gives out one event at a time, waits in the journal by looking again every half
 * millisecond, and cannot be armed by a bridge. It may also answer `RAILBUS_PEER_GONE`, when what comes next is in neither
 * the ring nor the journal and the journaller is dead, and what the disk said.
 *
 * `options` may be NULL. Close it with `railbus_reader_close`. Returns `RAILBUS_BUSY` when the durable name is in use
 * or no place is left; `RAILBUS_INVALID` when the position to start at is not retained, among others;
 * `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`; and with `follow`, `RAILBUS_PEER_GONE` when nothing has ever recorded this
 * channel.
 */
int32_t railbus_reader_open(const struct railbus_channel *channel,
                            const struct railbus_reader_options *options,
                            struct railbus_reader **reader,
                            struct railbus_error *error);

/**
 * Closes a reader: what it gave out is released, and what was received is acknowledged. NULL is ignored.
 */
int32_t railbus_reader_close(struct railbus_reader *reader, struct railbus_error *error);

/**
 * Receives the next event, in place: `event` tells where it is.
 *
 * Waits at most `timeout_ns`: 0 does not wait. The payload may be read until the next call on this reader that
 * receives, releases or closes.
 *
 * Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_LOST`, `RAILBUS_CLOSED`, `RAILBUS_EVICTED`,
 * `RAILBUS_REMOVED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`.
 */
int32_t railbus_receive(struct railbus_reader *reader,
                        uint64_t timeout_ns,
                        struct railbus_event *event,
                        struct railbus_error *error);

/**
 * Releases everything this reader has given out, and publishes its cursor at once: a durable subscription resumes
 * behind it. Payloads must not be read any more. With `RAILBUS_MANUAL` the cursor stays: see `railbus_acknowledge_to`.
 */
int32_t railbus_release(struct railbus_reader *reader,
                        struct railbus_error *error);

/**
 * Acknowledges everything before `position`, for a reader that was opened with `RAILBUS_MANUAL`: it is released, a durable
 * subscription resumes there, exactly, whatever happens to this process next, and a publisher that waits for the room
 * is woken. Never blocks.
 *
 * `position` is that of the first event that is *not* done: the one of a `railbus_event` that was received, or
 * `position` of `railbus_reader_statistics` when all that was received is done. Acknowledging the same again, or less,
 * changes nothing. Payloads before `position` must not be read any more; those behind it stay as they are.
 *
 * Returns `RAILBUS_INVALID` when the position lies beyond what was received, when no event starts there, and for a
 * reader that was not opened with `RAILBUS_MANUAL`; `RAILBUS_EVICTED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`. Nothing is
 * acknowledged then.
 */
int32_t railbus_acknowledge_to(struct railbus_reader *reader,
                               uint64_t position,
                               struct railbus_error *error);

/**
 * Fills `stats` with what this reader has done. No system call; releases nothing.
 */
int32_t railbus_reader_statistics(struct railbus_reader *reader,
                                  struct railbus_reader_stats *stats,
                                  struct railbus_error *error);

/**
 * Receives up to `events_max` events that are there, in place, and held together: all payloads may be read until the
 * next call on this reader that receives, releases or closes. A lossy reader, which reads copies, gets one at a time.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets how many there are, in any case. What
 * interrupts a batch (a loss, say) is the answer of the next call.
 *
 * A publisher has to wait for what is held: call again, or `railbus_release`, soon.
 *
 * Returns what `railbus_receive` does.
 */
int32_t railbus_receive_batch(struct railbus_reader *reader,
                              struct railbus_event *events,
                              size_t events_max,
                              uint64_t timeout_ns,
                              size_t *count,
                              struct railbus_error *error);

/**
 * Copies up to `to->events_max` events that are there into the caller's memory, and releases them. `count` gets how
 * many, in any case.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. An event that does not fit ends the call, and
 * `RAILBUS_WRONG_LENGTH` is the answer of the next one, unless that is `railbus_receive` or `railbus_receive_batch`:
 * these give it out. What else interrupts (a loss, say) is the answer of the next call, too.
 *
 * Returns what `railbus_receive` does, and `RAILBUS_WRONG_LENGTH`.
 */
int32_t railbus_receive_into(struct railbus_reader *reader,
                             const struct railbus_strided *to,
                             uint64_t timeout_ns,
                             size_t *count,
                             struct railbus_error *error);

/**
 * Opens a worker of the channel, which must be a queue.
 *
 * `options` may be NULL. Close it with `railbus_worker_close`. Returns `RAILBUS_BUSY` when no place is left;
 * `RAILBUS_NOT_ALLOWED`, also when the queue has dead letters and this process may not produce into their queue.
 */
int32_t railbus_worker_open(const struct railbus_channel *channel,
                            const struct railbus_worker_options *options,
                            struct railbus_worker **worker,
                            struct railbus_error *error);

/**
 * Closes a worker: what is in its hands is handed back, to be delivered again. NULL is ignored.
 */
int32_t railbus_worker_close(struct railbus_worker *worker, struct railbus_error *error);

/**
 * Takes the next event: it is this worker's, beside others it may hold, until `railbus_done` or `railbus_retry`, and
 * may be read as long. Delivery is at least once: if the worker dies, another gets it.
 *
 * Waits at most `timeout_ns`: 0 does not wait.
 *
 * Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_CLOSED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`,
 * `RAILBUS_BUSY` when as many events are in hand as `in_hand_max` allows.
 */
int32_t railbus_take(struct railbus_worker *worker,
                     uint64_t timeout_ns,
                     struct railbus_job *job,
                     struct railbus_error *error);

/**
 * Takes up to `jobs_max` events that are there. They stay in this worker's hands, as those of `railbus_take`.
 *
 * Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets how many there are, in any case.
 *
 * Returns what `railbus_take` does.
 */
int32_t railbus_take_batch(struct railbus_worker *worker,
                           struct railbus_job *jobs,
                           size_t jobs_max,
                           uint64_t timeout_ns,
                           size_t *count,
                           struct railbus_error *error);

/**
 * Says that `count` events are done: they will not be delivered again, and may not be read any more.
 *
 * Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are done. Returns `RAILBUS_EVICTED` if
 * this worker was evicted, and one of them goes to another: what was done with it does not count.
 */
int32_t railbus_done(struct railbus_worker *worker,
                     const struct railbus_job *jobs,
                     size_t count,
                     struct railbus_error *error);

/**
 * Hands `count` events back: each is delivered again, to this worker or another, with its attempts counted, or
 * becomes a dead letter. They may not be read any more.
 *
 * Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are handed back. Returns
 * `RAILBUS_EVICTED` if this worker was evicted: they go to others anyway.
 */
int32_t railbus_retry(struct railbus_worker *worker,
                      const struct railbus_job *jobs,
                      size_t count,
                      struct railbus_error *error);

/**
 * Fills `stats` with what this worker has done. No system call.
 */
int32_t railbus_worker_statistics(struct railbus_worker *worker,
                                  struct railbus_worker_stats *stats,
                                  struct railbus_error *error);

/**
 * Opens a bridge for readers or workers of the channel. Needs the rights of a consumer.
 *
 * `descriptor` gets the descriptor to wait for, which belongs to the bridge and must not be read, written or closed.
 * Close the bridge with `railbus_bridge_close`.
 */
int32_t railbus_bridge_open(const struct railbus_channel *channel,
                            struct railbus_bridge **bridge,
                            int *descriptor,
                            struct railbus_error *error);

/**
 * Closes a bridge and its descriptor. Takes some ms. NULL is ignored.
 */
int32_t railbus_bridge_close(struct railbus_bridge *bridge, struct railbus_error *error);

/**
 * Makes the descriptor readable as soon as there is something for the reader, perhaps at once. Arm it anew each time.
 */
int32_t railbus_bridge_arm_reader(const struct railbus_bridge *bridge,
                                  const struct railbus_reader *reader,
                                  struct railbus_error *error);

/**
 * Makes the descriptor readable as soon as there is something for the worker, perhaps at once. Arm it anew each time.
 */
int32_t railbus_bridge_arm_worker(const struct railbus_bridge *bridge,
                                  const struct railbus_worker *worker,
                                  struct railbus_error *error);

/**
 * Makes the descriptor unreadable again, after it was seen readable.
 */
int32_t railbus_bridge_drain(const struct railbus_bridge *bridge, struct railbus_error *error);

/**
 * Takes a snapshot of the channel and of those who are registered. Registers nobody and disturbs nobody. Needs the
 * right to read both files and takes some system calls for each participant. When somebody may be stuck, it looks for the
 * channel's `stuck_after`, at most 2 s, before it says so. Where `stuck_after` is longer,
 * `RAILBUS_MAY_BE_STUCK` is set for those of whom it is not known then.
 *
 * `info` may be NULL. Up to `participants_max` participants go to `participants`, which may be NULL if that is 0;
 * `participants_count`, which may be NULL, gets how many there are.
 *
 * Returns `RAILBUS_WRONG_LENGTH` if not all participants fit (the first ones are there), `RAILBUS_NOT_FOUND` if the
 * channel was removed, `RAILBUS_NOT_ALLOWED`.
 */
int32_t railbus_channel_inspect(const struct railbus_channel *channel,
                                struct railbus_channel_info *info,
                                struct railbus_participant *participants,
                                size_t participants_max,
                                size_t *participants_count,
                                struct railbus_error *error);

/**
 * Frees the entries of all dead participants, after repairing what they left. Nobody needs this: whoever waits
 * repairs what is in the way. Durable subscriptions are not touched. Safe at any time.
 *
 * `repaired` may be NULL.
 */
int32_t railbus_channel_repair(const struct railbus_channel *channel,
                               struct railbus_repaired *repaired,
                               struct railbus_error *error);

/**
 * Fences a participant that lives but does not move: a reader is told, and holds nobody back any more; a worker's
 * events are handed to others, and what it says of them is refused with `RAILBUS_EVICTED`; the process of a sender, which
 * writes in place, is killed with SIGKILL. A durable subscription without an owner is forgotten.
 *
 * `side` and `index` are those of a `railbus_participant`. `outcome`, which may be NULL, gets one of
 * `RAILBUS_EVICTED_`. A killed process may take up to `timeout_ns` to be gone, a running worker to make place.
 *
 * Returns `RAILBUS_NOT_FOUND` if nobody is there, `RAILBUS_INVALID` for a sender of this process itself, `RAILBUS_NOT_ALLOWED`,
 * `RAILBUS_TIMED_OUT`, `RAILBUS_BUSY`.
 */
int32_t railbus_channel_evict(const struct railbus_channel *channel,
                              uint32_t side,
                              uint32_t index,
                              uint64_t timeout_ns,
                              uint32_t *outcome,
                              struct railbus_error *error);

/**
 * Fills `journal` with how far the journal of this channel is, and what it does. Some system calls.
 *
 * Returns `RAILBUS_PEER_GONE` when nothing has ever recorded this channel.
 */
int32_t railbus_journal_positions(const struct railbus_channel *channel,
                                  struct railbus_journal *journal,
                                  struct railbus_error *error);

/**
 * Waits until the event at `position`, as publishing told it, is in the channel's journal so that it survives the death
 * of any process; at most `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
 * everything is written: it is beyond `position`.
 *
 * Returns what `railbus_wait_durable` does.
 */
int32_t railbus_wait_written(const struct railbus_channel *channel,
                             uint64_t position,
                             uint64_t timeout_ns,
                             uint64_t *reached,
                             struct railbus_error *error);

/**
 * Waits until the event at `position`, as publishing told it, is in the channel's journal so that it survives the death
 * of the machine; at most `timeout_ns`, where 0 looks once. `reached`, which may be NULL, gets the position before which
 * everything is durable: it is beyond `position`.
 *
 * A journal of the sync policy `RAILBUS_SYNC_NEVER` makes nothing durable before it stops: wait for written there.
 *
 * Returns `RAILBUS_TIMED_OUT`; `RAILBUS_PEER_GONE` at once when nothing records this channel, when its journaller has
 * died or stopped, or when the event is in a gap of the journal; what the disk said (`RAILBUS_IO`, `RAILBUS_NO_SPACE`,
 * `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`) at once when the journal has failed; `RAILBUS_FORKED`.
 */
int32_t railbus_wait_durable(const struct railbus_channel *channel,
                             uint64_t position,
                             uint64_t timeout_ns,
                             uint64_t *reached,
                             struct railbus_error *error);

/**
 * Publishes a copy of `payload_bytes` bytes, as `railbus_publish_with` does, and waits until the event is durable in the
 * channel's journal: `timeout_ns` in all. `attributes` may be NULL.
 *
 * `position`, which may be NULL, tells how far it came whatever the answer is: `RAILBUS_NONE` when nothing was
 * published, and the event's position when it was, even if the wait failed. Then whether the event will be durable is
 * not known: do not publish it again, but call `railbus_wait_durable`.
 *
 * Returns what `railbus_publish` and `railbus_wait_durable` do.
 */
int32_t railbus_publish_durable(struct railbus_sender *sender,
                                const void *payload,
                                size_t payload_bytes,
                                const struct railbus_attributes *attributes,
                                uint64_t timeout_ns,
                                uint64_t *position,
                                struct railbus_error *error);

/**
 * Recovers the channel's journal below the directory `journal` (it is `JOURNAL/BUS/CHANNEL`), or begins one, and records
 * from now on, in a thread of this process. Takes as long as recovery, and the first segment file, take.
 *
 * `journal_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. End it with `railbus_recorder_stop`. What a process
 * that dies had taken and not written is kept for the next recorder.
 *
 * Returns `RAILBUS_BUSY` while another journaller records the channel, or writes to the directory; `RAILBUS_CORRUPT`
 * names what is damaged; `RAILBUS_INVALID`, `RAILBUS_NO_SPACE`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
 */
int32_t railbus_recorder_start(const struct railbus_channel *channel,
                               const char *journal,
                               size_t journal_bytes,
                               const struct railbus_recorder_options *options,
                               struct railbus_recorder **recorder,
                               struct railbus_error *error);

/**
 * Stops recording, and closes the handle: what was published before is written, made durable and sealed. Waits for the
 * disk. NULL is ignored.
 *
 * Returns what has poisoned the journal, if so; the handle is closed all the same. In a `fork` child, where nothing
 * records, `RAILBUS_FORKED`.
 */
int32_t railbus_recorder_stop(struct railbus_recorder *recorder,
                              struct railbus_error *error);

/**
 * Opens the journal in `directory` (`JOURNAL/BUS/CHANNEL`) for reading, and finds where to begin. Whatever the journal's
 * size, that takes milliseconds.
 *
 * `directory_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. Close it with `railbus_replay_close`.
 *
 * Returns `RAILBUS_NOT_FOUND` when there is no journal; `RAILBUS_INVALID` when the position is older than what is kept,
 * or beyond the end, among others; `RAILBUS_CORRUPT`, `RAILBUS_LAYOUT`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
 */
int32_t railbus_replay_open(const char *directory,
                            size_t directory_bytes,
                            const struct railbus_replay_options *options,
                            struct railbus_replay **replay,
                            struct railbus_error *error);

/**
 * Closes a replay; what it gave out must not be read any more. NULL is ignored.
 */
int32_t railbus_replay_close(struct railbus_replay *replay, struct railbus_error *error);

/**
 * Gives out the next event of a replay, in place: its payload may be read until the next call on this replay.
 *
 * Waits at most `timeout_ns` until it is due: 0 does not wait. Reading the file is not counted. `recorded_ns`, which may
 * be NULL, gets when it was recorded, in ns of CLOCK_REALTIME.
 *
 * Returns `RAILBUS_END` at the end, after which more may come if the journal is still being written: the next call looks
 * again; `RAILBUS_EMPTY` (timeout 0) and `RAILBUS_TIMED_OUT` when the next event is not due yet; `RAILBUS_LOST` for a
 * gap in the journal (`lost_events` is `RAILBUS_NONE` when nobody knows how many): the next call goes on behind it;
 * `RAILBUS_CORRUPT` with the place named, `RAILBUS_IO`, `RAILBUS_FORKED`.
 */
int32_t railbus_replay_next(struct railbus_replay *replay,
                            uint64_t timeout_ns,
                            struct railbus_event *event,
                            uint64_t *recorded_ns,
                            struct railbus_error *error);

/**
 * Gives out up to `events_max` events of a replay that are due, held together: all payloads may be read until the next
 * call on this replay. A batch of many bytes may end earlier.
 *
 * Waits at most `timeout_ns` until the first one is due: 0 does not wait. `count` gets how many there are, in any case.
 * `recorded_ns`, which may be NULL, has room for `events_max` times as `railbus_replay_next` gives them. What interrupts
 * a batch (a gap, say) is the answer of the next call.
 *
 * Returns what `railbus_replay_next` does.
 */
int32_t railbus_replay_batch(struct railbus_replay *replay,
                             struct railbus_event *events,
                             uint64_t *recorded_ns,
                             size_t events_max,
                             uint64_t timeout_ns,
                             size_t *count,
                             struct railbus_error *error);

/**
 * Saves a consumer's state with the position it is of, so that both come back together: killed at any moment, the
 * consumer resumes with an old pair or a new one. They lie in the directory of the channel's journal, under `name`.
 *
 * `RAILBUS_CHECKPOINT_OPEN` takes `name` (`name_bytes` may be `RAILBUS_ZERO_TERMINATED`) for this process, makes the
 * handle and fills `saved`: `number` is 0 when nothing was saved yet, and `state` may be read until the next call on
 * the handle. Subscribe at `position` (`RAILBUS_START_POSITION`, following the journal) to go on.
 * `RAILBUS_CHECKPOINT_SAVE` saves the `position`, `state` and `state_bytes` of `saved`, durably: two syncs. If it
 * fails, what was saved before is still there. `RAILBUS_CHECKPOINT_CLOSE` closes the handle.
 * `channel` and `name` are for opening only: NULL and 0 otherwise; so is `saved`, which closing does not look at.
 *
 * Returns `RAILBUS_PEER_GONE` when nothing has ever recorded the channel; `RAILBUS_BUSY` while another uses the name;
 * `RAILBUS_CORRUPT` when what was saved is damaged, or when the channel was lost with its memory and made anew, and
 * the state has seen what its journal has not; `RAILBUS_NOT_FOUND`, `RAILBUS_NO_SPACE`, `RAILBUS_NOT_ALLOWED`,
 * `RAILBUS_IO`, `RAILBUS_FORKED`.
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
    {sizeof(railbus_channel_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, RAILBUS_ZERO_TERMINATED, 0, 0, {0}, 0, 0, 0, 0, NULL, RAILBUS_ZERO_TERMINATED, NULL, RAILBUS_ZERO_TERMINATED}

#define RAILBUS_CHANNEL_HEADER_INIT \
    {sizeof(railbus_channel_header), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0}, {0}, {0}, {0}, 0, 0, 0, 0}

#define RAILBUS_ATTRIBUTES_INIT \
    {sizeof(railbus_attributes), 0, 0, 0, 0, {0}, {0}, 0, 0, 0, 0, 0, 0, 0}

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

#define RAILBUS_CHANNEL_INFO_INIT \
    {sizeof(railbus_channel_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

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
RAILBUS_ASSERT(channel_options, sizeof(railbus_channel_options) == 184);
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
RAILBUS_ASSERT(channel_header, sizeof(railbus_channel_header) == 560);
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
RAILBUS_ASSERT(attributes, sizeof(railbus_attributes) == 96);
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
RAILBUS_ASSERT(channel_info, sizeof(railbus_channel_info) == 128);
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
RAILBUS_ASSERT(participant, sizeof(railbus_participant) == 208);
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
RAILBUS_ASSERT(participant_attached_ns, offsetof(railbus_participant, attached_ns) == 96);
RAILBUS_ASSERT(participant_seen_ns, offsetof(railbus_participant, seen_ns) == 104);
RAILBUS_ASSERT(participant_waiting_ns, offsetof(railbus_participant, waiting_ns) == 112);
RAILBUS_ASSERT(participant_waiting_for, offsetof(railbus_participant, waiting_for) == 120);
RAILBUS_ASSERT(participant_stuck_ns, offsetof(railbus_participant, stuck_ns) == 128);
RAILBUS_ASSERT(participant_name, offsetof(railbus_participant, name) == 136);
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
