/*
 * The journal from C: recording, waiting until it is durable, replaying all of it and parts of it, and following
 * it into the ring. Called as `journal DIRECTORY`: the journals go there, the bus to $RAILBUS_DIR.
 */
#define _POSIX_C_SOURCE 200809L

#include <railbus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ZT RAILBUS_ZERO_TERMINATED
#define LONG (20ULL * 1000 * 1000 * 1000)
#define EVENTS 1000
#define BATCH 64

static railbus_error error;
static const char *journals;
static railbus_bus *bus;

static void expect(int32_t found, int32_t expected, const char *what, int line) {
    if (found == expected)
        return;
    fprintf(stderr, "journal.c:%d: %s answers %d (%s: %s), not %d\n", line, what, (int)found, railbus_describe(found),
            found == RAILBUS_OK ? "" : error.message, (int)expected);
    exit(1);
}

static void check(int fact, const char *what, int line) {
    if (fact)
        return;
    fprintf(stderr, "journal.c:%d: not so: %s\n", line, what);
    exit(1);
}

#define EXPECT(expected, call) expect(call, expected, #call, __LINE__)
#define OK(call) EXPECT(RAILBUS_OK, call)
#define CHECK(fact) check(fact, #fact, __LINE__)

static railbus_channel *make(const char *name, uint32_t kind) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    options.kind = kind;
    if (kind == RAILBUS_STREAM) {
        options.capacity_bytes = 1u << 16;
    } else {
        options.slots = 1024;
        options.slot_bytes = 128;
    }
    options.flags = RAILBUS_STAMP;
    OK(railbus_channel_create(bus, name, ZT, &options, &channel, &error));
    return channel;
}

static railbus_recorder *record(railbus_channel *channel) {
    railbus_recorder_options options = RAILBUS_RECORDER_OPTIONS_INIT;
    railbus_recorder *recorder;
    options.segment_bytes = 1u << 20;
    options.staging_bytes = 1u << 20;
    options.codec = RAILBUS_CODEC_LZ4;
    OK(railbus_recorder_start(channel, journals, ZT, &options, &recorder, &error));
    return recorder;
}

/* Publishes event `number`. Type id: the number modulo 4. Payload: the number, repeated as the remainder says. */
static uint64_t publish(railbus_sender *sender, uint64_t number, int durable) {
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    uint64_t payload[4] = {number, number, number, number}, position = 0;
    size_t bytes = (size_t)(1 + number % 4) * 8;
    attributes.type_id = (uint16_t)(number % 4);
    if (durable)
        OK(railbus_publish_durable(sender, payload, bytes, &attributes, LONG, &position, &error));
    else
        OK(railbus_publish_with(sender, payload, bytes, &attributes, LONG, &position, &error));
    return position;
}

static void check_event(const railbus_event *event, uint64_t number) {
    uint64_t found = 0;
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    CHECK(event->payload_bytes == (1 + number % 4) * 8);
    CHECK((uintptr_t)event->payload % 8 == 0);
    for (uint32_t i = 0; i < event->payload_bytes; i += 8) {
        memcpy(&found, event->payload + i, 8);
        CHECK(found == number);
    }
    CHECK(event->type_id == number % 4);
    OK(railbus_event_attributes(event, &attributes, &error));
    CHECK((attributes.flags & RAILBUS_HAS_TIME) != 0 && attributes.published_ns > 1000000000ULL * 1000000000ULL);
}

/* Replays with the options, one event at a time: every `step`-th number from `first`. Returns how many. */
static uint64_t replay_one_by_one(const char *directory, const railbus_replay_options *options, uint64_t first,
                                  uint64_t step) {
    railbus_replay *replay;
    railbus_event event;
    uint64_t events = 0, recorded_ns, before_ns = 0;
    int32_t result;
    OK(railbus_replay_open(directory, ZT, options, &replay, &error));
    while ((result = railbus_replay_next(replay, LONG, &event, &recorded_ns, &error)) == RAILBUS_OK) {
        check_event(&event, first + events * step);
        CHECK(recorded_ns >= before_ns);
        before_ns = recorded_ns;
        events++;
    }
    EXPECT(RAILBUS_END, result);
    /* It is described in words, too, because it is none of the few results that leave the struct alone. */
    CHECK(error.code == RAILBUS_END && strcmp(error.message, "the replay has ended") == 0);
    OK(railbus_replay_close(replay, &error));
    return events;
}

static uint64_t replay_batches(const char *directory, uint64_t first) {
    railbus_replay *replay;
    railbus_event found[BATCH];
    uint64_t events = 0, times[BATCH], most = 0;
    size_t count;
    int32_t result;
    OK(railbus_replay_open(directory, ZT, NULL, &replay, &error));
    while ((result = railbus_replay_batch(replay, found, times, BATCH, 0, &count, &error)) == RAILBUS_OK) {
        /* All of them can be read together. */
        for (size_t i = 0; i < count; i++)
            check_event(&found[i], first + events + i);
        events += count;
        most = count > most ? count : most;
    }
    EXPECT(RAILBUS_END, result);
    CHECK(count == 0 && most == BATCH);
    OK(railbus_replay_close(replay, &error));
    return events;
}

static void record_and_replay(uint32_t kind, const char *name) {
    railbus_channel *channel = make(name, kind);
    railbus_journal journal = RAILBUS_JOURNAL_INIT;
    uint64_t reached = 0, position = 0, middle = 0;
    EXPECT(RAILBUS_PEER_GONE, railbus_journal_positions(channel, &journal, &error));
    EXPECT(RAILBUS_PEER_GONE, railbus_wait_durable(channel, 0, LONG, &reached, &error));
    railbus_sender *sender;
    OK(railbus_sender_open(channel, NULL, &sender, &error));
    /* Published, but nobody makes it durable: the position distinguishes the two. */
    if (kind == RAILBUS_STREAM) {
        EXPECT(RAILBUS_PEER_GONE, railbus_publish_durable(sender, "x", 1, NULL, LONG, &position, &error));
        CHECK(position == 0);
        position = 7;
        EXPECT(RAILBUS_TOO_LONG, railbus_publish_durable(sender, "x", 1u << 17, NULL, LONG, &position, &error));
        CHECK(position == RAILBUS_NONE);
        OK(railbus_sender_close(sender, &error));
        OK(railbus_channel_close(channel, &error));
        OK(railbus_bus_remove(bus, name, ZT, &error));
        channel = make(name, kind);
        OK(railbus_sender_open(channel, NULL, &sender, &error));
    }

    railbus_recorder *recorder = record(channel), *second;
    EXPECT(RAILBUS_BUSY, railbus_recorder_start(channel, journals, ZT, NULL, &second, &error));
    for (uint64_t i = 0; i < EVENTS; i++) {
        position = publish(sender, i, i % 100 == 0);
        if (i == EVENTS / 2)
            middle = position;
    }
    OK(railbus_wait_written(channel, position, LONG, &reached, &error));
    CHECK(reached > position);
    OK(railbus_wait_durable(channel, position, LONG, &reached, &error));
    CHECK(reached > position);
    OK(railbus_wait_durable(channel, position, 0, NULL, &error));
    EXPECT(RAILBUS_TIMED_OUT, railbus_wait_durable(channel, position + 1000, 1000000, NULL, &error));
    OK(railbus_journal_positions(channel, &journal, &error));
    CHECK(journal.state == RAILBUS_JOURNAL_RECORDING && journal.durable == reached && journal.pid == (uint32_t)getpid());
    CHECK(journal.events == EVENTS && journal.gaps == 0 && journal.failure[0] == '\0');

    /* Everything, while it is still being written. */
    CHECK(replay_batches(journal.directory, 0) == EVENTS);
    railbus_replay_options options = RAILBUS_REPLAY_OPTIONS_INIT;
    CHECK(replay_one_by_one(journal.directory, &options, 0, 1) == EVENTS);
    uint16_t three = 3;
    options.type_ids = &three;
    options.type_ids_count = 1;
    CHECK(replay_one_by_one(journal.directory, &options, 3, 4) == EVENTS / 4);
    options.type_ids_count = 0;
    options.from_what = options.to_what = RAILBUS_AT_POSITION;
    options.from = middle;
    options.to = position;
    CHECK(replay_one_by_one(journal.directory, &options, EVENTS / 2, 1) == EVENTS / 2 - 1);
    options.to_what = RAILBUS_AT_JOURNAL;
    options.rate = 100000;
    CHECK(replay_one_by_one(journal.directory, &options, EVENTS / 2, 1) == EVENTS / 2);
    options.rate = 0;
    options.from_what = RAILBUS_AT_TIME;
    options.from = 0;
    options.speed = 1000;
    CHECK(replay_one_by_one(journal.directory, &options, 0, 1) == EVENTS);
    options.from = UINT64_MAX;
    CHECK(replay_one_by_one(journal.directory, &options, 0, 1) == 0);

    /* A pace: the first event at once, the second in a thousand seconds. */
    railbus_replay *replay;
    railbus_event event;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.rate = 0.001;
    OK(railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    OK(railbus_replay_next(replay, 0, &event, NULL, &error));
    EXPECT(RAILBUS_EMPTY, railbus_replay_next(replay, 0, &event, NULL, &error));
    EXPECT(RAILBUS_TIMED_OUT, railbus_replay_next(replay, 2000000, &event, NULL, &error));
    OK(railbus_replay_close(replay, &error));
    /* Again and again. */
    options.rate = 0;
    options.flags = RAILBUS_REPEAT;
    OK(railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    for (uint64_t i = 0; i < 2 * EVENTS + 7; i++) {
        OK(railbus_replay_next(replay, 0, &event, NULL, &error));
        check_event(&event, i % EVENTS);
    }
    /* A child cannot use the handles. */
    pid_t child = fork();
    if (child == 0) {
        int32_t refused = railbus_replay_next(replay, 0, &event, NULL, NULL);
        int32_t stopped = railbus_recorder_stop(recorder, NULL);
        _exit(refused == RAILBUS_FORKED && stopped == RAILBUS_FORKED ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(railbus_replay_close(replay, &error));
    EXPECT(RAILBUS_CLOSED_HANDLE, railbus_replay_close(replay, &error));

    /* Mistakes. */
    options.flags = 1u << 9;
    EXPECT(RAILBUS_INVALID, railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    options.flags = 0;
    options.speed = -1;
    EXPECT(RAILBUS_INVALID, railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    options.speed = options.rate = 1;
    EXPECT(RAILBUS_INVALID, railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    options.speed = options.rate = 0;
    options.from_what = 9;
    EXPECT(RAILBUS_INVALID, railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    options.from_what = RAILBUS_AT_POSITION;
    options.from = 1ULL << 40;
    EXPECT(RAILBUS_INVALID, railbus_replay_open(journal.directory, ZT, &options, &replay, &error));
    EXPECT(RAILBUS_NOT_FOUND, railbus_replay_open(journals, ZT, NULL, &replay, &error));
    EXPECT(RAILBUS_INVALID, railbus_replay_open("", ZT, NULL, &replay, &error));

    OK(railbus_recorder_stop(recorder, &error));
    EXPECT(RAILBUS_CLOSED_HANDLE, railbus_recorder_stop(recorder, &error));
    OK(railbus_journal_positions(channel, &journal, &error));
    CHECK(journal.state == RAILBUS_JOURNAL_STOPPED);
    EXPECT(RAILBUS_PEER_GONE, railbus_wait_durable(channel, position + 1000, LONG, NULL, &error));
    OK(railbus_sender_close(sender, &error));
    OK(railbus_channel_close(channel, &error));
}

/* From the journal into the ring, while a child publishes more than the ring holds. */
static void follow(uint32_t kind, const char *name, uint32_t how) {
    const uint64_t events = 20000;
    railbus_channel *channel = make(name, kind);
    railbus_recorder *recorder = record(channel);
    railbus_sender *sender;
    railbus_reader *reader;
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    railbus_reader_stats stats = RAILBUS_READER_STATS_INIT;
    railbus_event event;
    uint64_t begun = events / 2, seen = 0;
    OK(railbus_sender_open(channel, NULL, &sender, &error));
    for (uint64_t i = 0; i < begun; i++)
        publish(sender, i, 0);
    OK(railbus_sender_close(sender, &error));
    pid_t child = fork();
    if (child == 0) {
        railbus_bus *own;
        OK(railbus_bus_open("bus", ZT, NULL, &own, &error));
        OK(railbus_channel_attach(own, name, ZT, &channel, &error));
        OK(railbus_sender_open(channel, NULL, &sender, &error));
        for (uint64_t i = begun; i < events; i++)
            publish(sender, i, 0);
        _exit(0);
    }
    options.start = RAILBUS_START_OLDEST;
    options.follow = how;
    OK(railbus_reader_open(channel, &options, &reader, &error));
    while (seen < events) {
        size_t count = 1;
        /* Each way to receive in turn. */
        if (seen % 3 == 0) {
            OK(railbus_receive(reader, LONG, &event, &error));
        } else if (seen % 3 == 1) {
            OK(railbus_receive_batch(reader, &event, 1, LONG, &count, &error));
        } else {
            uint64_t place[8][4];
            uint32_t lengths[8];
            railbus_strided to = RAILBUS_STRIDED_INIT;
            to.payloads = place;
            to.stride_bytes = sizeof place[0];
            to.events_max = 8;
            to.lengths = lengths;
            OK(railbus_receive_into(reader, &to, LONG, &count, &error));
            for (size_t i = 0; i < count; i++)
                CHECK(place[i][0] == seen + i && lengths[i] == (1 + (seen + i) % 4) * 8);
            seen += count;
            continue;
        }
        CHECK(count == 1);
        check_event(&event, seen);
        seen++;
    }
    EXPECT(RAILBUS_TIMED_OUT, railbus_receive(reader, 1000000, &event, &error));
    EXPECT(RAILBUS_EMPTY, railbus_receive(reader, 0, &event, &error));
    OK(railbus_release(reader, &error));
    OK(railbus_reader_statistics(reader, &stats, &error));
    CHECK(stats.events == events && stats.lost == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    railbus_bridge *bridge;
    int descriptor;
    OK(railbus_bridge_open(channel, &bridge, &descriptor, &error));
    EXPECT(RAILBUS_INVALID, railbus_bridge_arm_reader(bridge, reader, &error));
    OK(railbus_bridge_close(bridge, &error));
    OK(railbus_reader_close(reader, &error));

    options.flags = RAILBUS_LOSSY;
    EXPECT(RAILBUS_INVALID, railbus_reader_open(channel, &options, &reader, &error));
    options.flags = 0;
    options.follow = 7;
    EXPECT(RAILBUS_INVALID, railbus_reader_open(channel, &options, &reader, &error));
    options.follow = RAILBUS_FOLLOW_NOT;
    options.start = RAILBUS_START_TIME;
    EXPECT(RAILBUS_INVALID, railbus_reader_open(channel, &options, &reader, &error));
    OK(railbus_recorder_stop(recorder, &error));
    OK(railbus_channel_close(channel, &error));
}

/* The state of the consumer of `crash`: how many events it has seen, and their sum. */
typedef struct {
    uint64_t seen, sum;
} sums;

/*
 * A consumer that adds up the events of a stream and saves after every 10th event. It is killed after it has
 * changed its state and before it saves it: when it has seen `dies` events, if it gets so far.
 */
static void add_up(uint64_t dies) {
    railbus_bus *own;
    railbus_channel *channel;
    railbus_checkpoint *checkpoint;
    railbus_reader *reader;
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    railbus_saved saved = RAILBUS_SAVED_INIT;
    railbus_event event;
    sums now = {0, 0};
    OK(railbus_bus_open("bus", ZT, NULL, &own, &error));
    OK(railbus_channel_attach(own, "sums", ZT, &channel, &error));
    OK(railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_OPEN, channel, "sums", ZT, &saved, &error));
    if (saved.number > 0) {
        CHECK(saved.state_bytes == sizeof now);
        memcpy(&now, saved.state, sizeof now);
    }
    options.start = RAILBUS_START_POSITION;
    options.position = saved.position;
    options.follow = RAILBUS_FOLLOW_HOLD;
    OK(railbus_reader_open(channel, &options, &reader, &error));
    while (now.seen < EVENTS) {
        /* The position to resume at is that of the next event. */
        OK(railbus_receive(reader, LONG, &event, &error));
        if (now.seen % 10 == 0 && now.seen > 0) {
            saved.position = event.position;
            saved.state = &now;
            saved.state_bytes = sizeof now;
            OK(railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_SAVE, NULL, NULL, 0, &saved, &error));
        }
        uint64_t value;
        memcpy(&value, event.payload, sizeof value);
        now.sum += value;
        if (++now.seen == dies)
            raise(SIGKILL);
    }
    CHECK(now.sum == (uint64_t)EVENTS * (EVENTS - 1) / 2);
    _exit(0);
}

#define OPENED(place, name) railbus_checkpoint_call(place, RAILBUS_CHECKPOINT_OPEN, channel, name, ZT, &saved, &error)
#define SAVED(what) railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_SAVE, NULL, NULL, 0, what, &error)
#define CLOSED() railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_CLOSE, NULL, NULL, 0, NULL, &error)

static void checkpoints(void) {
    railbus_channel *channel = make("sums", RAILBUS_STREAM);
    railbus_checkpoint *checkpoint, *other;
    railbus_saved saved = RAILBUS_SAVED_INIT;
    railbus_sender *sender;
    uint64_t position = 0;
    EXPECT(RAILBUS_PEER_GONE, OPENED(&checkpoint, "c"));
    railbus_recorder *recorder = record(channel);
    OK(railbus_sender_open(channel, NULL, &sender, &error));
    for (uint64_t i = 0; i < EVENTS; i++)
        position = publish(sender, i, 0);
    OK(railbus_wait_durable(channel, position, LONG, NULL, &error));
    int kills = 0, status;
    for (uint64_t dies = 5; dies < EVENTS; dies += 137, kills++) {
        pid_t child = fork();
        if (child == 0)
            add_up(dies);
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    CHECK(kills > 6);
    pid_t child = fork();
    if (child == 0)
        add_up(0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* The last save; a name belongs to one handle at a time. */
    OK(railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_OPEN, channel, "sums", 4, &saved, &error));
    CHECK(saved.number > 90 && saved.position > 0 && saved.time_ns > 0 && saved.incarnation == 1);
    CHECK(saved.state_bytes == sizeof(sums) && ((const sums *)saved.state)->seen == EVENTS - 10);
    uint64_t number = saved.number;
    EXPECT(RAILBUS_BUSY, OPENED(&other, "sums"));
    CHECK(other == NULL && saved.number == 0 && saved.state == NULL);
    /* An empty state is one, too. */
    OK(SAVED(&saved));
    child = fork();
    if (child == 0)
        _exit(SAVED(&saved) == RAILBUS_FORKED ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(CLOSED());
    EXPECT(RAILBUS_CLOSED_HANDLE, SAVED(&saved));
    EXPECT(RAILBUS_CLOSED_HANDLE, CLOSED());
    OK(OPENED(&checkpoint, "sums"));
    CHECK(saved.number == number + 1 && saved.state == NULL && saved.state_bytes == 0);

    /* Mistakes. */
    saved.state_bytes = 1;
    EXPECT(RAILBUS_INVALID, SAVED(&saved));
    EXPECT(RAILBUS_INVALID, SAVED(NULL));
    EXPECT(RAILBUS_INVALID, railbus_checkpoint_call(&checkpoint, 9, NULL, NULL, 0, &saved, &error));
    EXPECT(RAILBUS_INVALID, railbus_checkpoint_call(NULL, RAILBUS_CHECKPOINT_SAVE, NULL, NULL, 0, &saved, &error));
    EXPECT(RAILBUS_INVALID, OPENED(NULL, "c"));
    EXPECT(RAILBUS_INVALID, OPENED(&other, "../c"));
    EXPECT(RAILBUS_INVALID, railbus_checkpoint_call(&other, RAILBUS_CHECKPOINT_OPEN, channel, "c", ZT, NULL, &error));
    saved.struct_size = 0;
    EXPECT(RAILBUS_INVALID, SAVED(&saved));
    OK(CLOSED());
    OK(railbus_sender_close(sender, &error));
    OK(railbus_recorder_stop(recorder, &error));
    OK(railbus_channel_close(channel, &error));
}

/* A journaller that is killed: a waiter gets an error, and does not go on waiting. */
static void journaller_dies(void) {
    railbus_channel *channel = make("dies", RAILBUS_STREAM);
    int pipes[2];
    char byte;
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        railbus_bus *own;
        OK(railbus_bus_open("bus", ZT, NULL, &own, &error));
        OK(railbus_channel_attach(own, "dies", ZT, &channel, &error));
        record(channel);
        CHECK(write(pipes[1], "r", 1) == 1);
        pause();
        _exit(0);
    }
    CHECK(read(pipes[0], &byte, 1) == 1);
    railbus_sender *sender;
    OK(railbus_sender_open(channel, NULL, &sender, &error));
    publish(sender, 0, 1);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    uint64_t position = RAILBUS_NONE;
    EXPECT(RAILBUS_PEER_GONE, railbus_publish_durable(sender, "x", 1, NULL, RAILBUS_FOREVER, &position, &error));
    CHECK(position != RAILBUS_NONE);
    railbus_journal journal = RAILBUS_JOURNAL_INIT;
    OK(railbus_journal_positions(channel, &journal, &error));
    CHECK(journal.state == RAILBUS_JOURNAL_DEAD);
    /* The next journaller takes it up. */
    railbus_recorder *recorder = record(channel);
    OK(railbus_wait_durable(channel, position, LONG, NULL, &error));
    OK(railbus_recorder_stop(recorder, &error));
    OK(railbus_sender_close(sender, &error));
    OK(railbus_channel_close(channel, &error));
}

int main(int count, char **values) {
    if (count != 2)
        return 2;
    journals = values[1];
    OK(railbus_bus_open("bus", ZT, NULL, &bus, &error));
    record_and_replay(RAILBUS_STREAM, "stream");
    record_and_replay(RAILBUS_TOPIC, "topic");
    record_and_replay(RAILBUS_QUEUE, "queue");
    follow(RAILBUS_STREAM, "hold", RAILBUS_FOLLOW_HOLD);
    follow(RAILBUS_STREAM, "on", RAILBUS_FOLLOW_READ_JOURNAL);
    follow(RAILBUS_TOPIC, "topic-on", RAILBUS_FOLLOW_READ_JOURNAL);
    journaller_dies();
    checkpoints();
    OK(railbus_bus_close(bus, &error));
    puts("recorded, replayed and followed");
    return 0;
}
