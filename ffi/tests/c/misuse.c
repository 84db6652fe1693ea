/*
 * Every function with NULL, closed and foreign handles, and every struct with wrong sizes: each must return, and
 * none may touch memory that it should not. Run plainly, under valgrind, and under AddressSanitizer.
 */
#include <railbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static railbus_error error;
static int checks;

static void expect(int32_t found, int32_t expected, const char *what, int line) {
    checks++;
    if (found == expected)
        return;
    fprintf(stderr, "misuse.c:%d: %s answers %d (%s: %s), not %d\n", line, what, (int)found, railbus_describe(found),
            error.message, (int)expected);
    exit(1);
}

#define EXPECT(expected, call) expect(call, expected, #call, __LINE__)
#define OK(call) EXPECT(RAILBUS_OK, call)
#define INVALID(call) EXPECT(RAILBUS_INVALID, call)
#define CLOSED(call) EXPECT(RAILBUS_CLOSED_HANDLE, call)
#define ZT RAILBUS_ZERO_TERMINATED

static railbus_bus *bus;
static railbus_channel *stream, *queue;
static railbus_sender *sender;
static railbus_reader *reader;
static railbus_worker *worker;
static railbus_bridge *bridge;

static void open_all(void) {
    railbus_bus_options bus_options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    int descriptor;
    OK(railbus_bus_open("misuse", ZT, &bus_options, &bus, &error));
    options.kind = RAILBUS_STREAM;
    options.capacity_bytes = 4096;
    OK(railbus_channel_create_or_attach(bus, "stream", ZT, &options, &stream, &error));
    options.kind = RAILBUS_QUEUE;
    options.capacity_bytes = 0;
    options.slots = 64;
    OK(railbus_channel_create_or_attach(bus, "queue", ZT, &options, &queue, &error));
    OK(railbus_sender_open(stream, NULL, &sender, &error));
    OK(railbus_reader_open(stream, NULL, &reader, &error));
    OK(railbus_worker_open(queue, NULL, &worker, &error));
    OK(railbus_bridge_open(stream, &bridge, &descriptor, &error));
}

static void close_all(void) {
    OK(railbus_bridge_close(bridge, &error));
    OK(railbus_worker_close(worker, &error));
    OK(railbus_reader_close(reader, &error));
    OK(railbus_sender_close(sender, &error));
    OK(railbus_channel_close(stream, &error));
    OK(railbus_channel_close(queue, &error));
    OK(railbus_bus_close(bus, &error));
}

/* Calls everything with these handles; each call must return `expected`. */
static void call_all(int32_t expected, railbus_bus *b, railbus_channel *c, railbus_sender *s, railbus_reader *r,
                     railbus_worker *w, railbus_bridge *g) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    railbus_channel_info info = RAILBUS_CHANNEL_INFO_INIT;
    railbus_repaired repaired = RAILBUS_REPAIRED_INIT;
    railbus_sender_stats sent = RAILBUS_SENDER_STATS_INIT;
    railbus_reader_stats received = RAILBUS_READER_STATS_INIT;
    railbus_worker_stats worked = RAILBUS_WORKER_STATS_INIT;
    railbus_strided to = RAILBUS_STRIDED_INIT;
    railbus_journal journal = RAILBUS_JOURNAL_INIT;
    railbus_recorder *recorder;
    railbus_channel *channel;
    railbus_sender *new_sender;
    railbus_reader *new_reader;
    railbus_worker *new_worker;
    railbus_bridge *new_bridge;
    railbus_bytes one = {(const uint8_t *)"x", 1};
    railbus_event event;
    railbus_job job;
    char names[64], place[64];
    void *payload;
    size_t count;
    uint32_t outcome;
    int descriptor;
    to.payloads = place;
    to.stride_bytes = sizeof place;
    to.events_max = 1;
    memset(&job, 0, sizeof job);
    options.kind = RAILBUS_STREAM;

    EXPECT(expected, railbus_bus_list(b, names, sizeof names, &count, &error));
    EXPECT(expected, railbus_bus_remove(b, "x", ZT, &error));
    EXPECT(expected, railbus_channel_create(b, "x", ZT, &options, &channel, &error));
    EXPECT(expected, railbus_channel_attach(b, "x", ZT, &channel, &error));
    EXPECT(expected, railbus_channel_create_or_attach(b, "x", ZT, &options, &channel, &error));
    EXPECT(expected, railbus_channel_describe(c, &header, &error));
    EXPECT(expected, railbus_channel_inspect(c, &info, NULL, 0, &count, &error));
    EXPECT(expected, railbus_channel_repair(c, &repaired, &error));
    EXPECT(expected, railbus_channel_evict(c, RAILBUS_CONSUMERS, 0, 0, &outcome, &error));
    EXPECT(expected, railbus_sender_open(c, NULL, &new_sender, &error));
    EXPECT(expected, railbus_reader_open(c, NULL, &new_reader, &error));
    EXPECT(expected, railbus_worker_open(c, NULL, &new_worker, &error));
    EXPECT(expected, railbus_bridge_open(c, &new_bridge, &descriptor, &error));
    EXPECT(expected, railbus_publish(s, "x", 1, 0, NULL, &error));
    EXPECT(expected, railbus_publish_with(s, "x", 1, NULL, 0, NULL, &error));
    EXPECT(expected, railbus_publish_numbered(s, 1, "x", 1, NULL, 0, NULL, &error));
    EXPECT(expected, railbus_publish_batch(s, &one, 1, 0, &count, &error));
    EXPECT(expected, railbus_publish_strided(s, "x", 1, NULL, 1, 0, &count, &error));
    EXPECT(expected, railbus_claim(s, 1, NULL, 0, &payload, &error));
    EXPECT(expected, railbus_commit(s, 1, NULL, &error));
    EXPECT(expected, railbus_abort(s, &error));
    EXPECT(expected, railbus_sender_readers(s, &count, &error));
    EXPECT(expected, railbus_sender_statistics(s, &sent, &error));
    EXPECT(expected, railbus_receive(r, 0, &event, &error));
    EXPECT(expected, railbus_receive_batch(r, &event, 1, 0, &count, &error));
    EXPECT(expected, railbus_receive_into(r, &to, 0, &count, &error));
    EXPECT(expected, railbus_release(r, &error));
    EXPECT(expected, railbus_reader_statistics(r, &received, &error));
    EXPECT(expected, railbus_take(w, 0, &job, &error));
    EXPECT(expected, railbus_take_batch(w, &job, 1, 0, &count, &error));
    EXPECT(expected, railbus_done(w, &job, 1, &error));
    EXPECT(expected, railbus_retry(w, &job, 1, &error));
    EXPECT(expected, railbus_worker_statistics(w, &worked, &error));
    EXPECT(expected, railbus_bridge_arm_reader(g, r, &error));
    EXPECT(expected, railbus_bridge_arm_worker(g, w, &error));
    EXPECT(expected, railbus_bridge_drain(g, &error));
    EXPECT(expected, railbus_journal_positions(c, &journal, &error));
    EXPECT(expected, railbus_wait_written(c, 0, 0, NULL, &error));
    EXPECT(expected, railbus_wait_durable(c, 0, 0, NULL, &error));
    EXPECT(expected, railbus_recorder_start(c, "/nowhere", ZT, NULL, &recorder, &error));
    EXPECT(expected, railbus_publish_durable(s, "x", 1, NULL, 0, NULL, &error));
}

static void wrong_sizes(void) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    struct {
        railbus_channel_options known;
        uint64_t unknown;
    } newer;
    options.kind = RAILBUS_STREAM;
    options.struct_size = 0;
    INVALID(railbus_channel_create_or_attach(bus, "stream", ZT, &options, &channel, &error));
    options.struct_size = 4;
    INVALID(railbus_channel_create_or_attach(bus, "stream", ZT, &options, &channel, &error));
    options.struct_size = 1u << 20;
    INVALID(railbus_channel_create_or_attach(bus, "stream", ZT, &options, &channel, &error));
    /* An older program knows only the first fields. */
    options.struct_size = offsetof(railbus_channel_options, slots);
    OK(railbus_channel_create_or_attach(bus, "stream", ZT, &options, &channel, &error));
    OK(railbus_channel_close(channel, &error));
    /* A newer one has more, which only matters when it is used. */
    memset(&newer, 0, sizeof newer);
    newer.known.kind = RAILBUS_STREAM;
    newer.known.struct_size = sizeof newer;
    OK(railbus_channel_create_or_attach(bus, "stream", ZT, &newer.known, &channel, &error));
    OK(railbus_channel_close(channel, &error));
    newer.unknown = 1;
    EXPECT(RAILBUS_WRONG_VERSION, railbus_channel_create_or_attach(bus, "stream", ZT, &newer.known, &channel, &error));

    /* A struct is filled only as far as the caller's size goes. */
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    header.slots = 77;
    header.struct_size = offsetof(railbus_channel_header, slots);
    OK(railbus_channel_describe(stream, &header, &error));
    EXPECT(77, (int32_t)header.slots);
    EXPECT(4096, (int32_t)header.capacity_bytes);
    header.struct_size = 0;
    INVALID(railbus_channel_describe(stream, &header, &error));
}

static void wrong_versions(void) {
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *other;
    OK(railbus_check_abi(RAILBUS_ABI_VERSION, RAILBUS_LAYOUT_FINGERPRINT, &error));
    EXPECT(RAILBUS_WRONG_VERSION, railbus_check_abi(RAILBUS_ABI_VERSION + 1, RAILBUS_LAYOUT_FINGERPRINT, &error));
    EXPECT(RAILBUS_WRONG_VERSION, railbus_check_abi(RAILBUS_ABI_VERSION, 1, &error));
    options.abi_version++;
    EXPECT(RAILBUS_WRONG_VERSION, railbus_bus_open("misuse", ZT, &options, &other, &error));
    EXPECT(0, other == NULL ? 0 : 1);
    EXPECT(0, railbus_layout_fingerprint() == RAILBUS_LAYOUT_FINGERPRINT ? 0 : 1);
    EXPECT(0, strcmp(railbus_version(), RAILBUS_VERSION));
}

static void wrong_arguments(void) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_sender_options sender_options = RAILBUS_SENDER_OPTIONS_INIT;
    railbus_reader_options reader_options = RAILBUS_READER_OPTIONS_INIT;
    railbus_worker_options worker_options = RAILBUS_WORKER_OPTIONS_INIT;
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    railbus_strided to = RAILBUS_STRIDED_INIT;
    railbus_participant participant;
    railbus_bytes bad = {NULL, 1};
    railbus_channel *channel;
    railbus_sender *other_sender;
    railbus_reader *other_reader;
    railbus_worker *other_worker;
    uint32_t lengths[2] = {1, 9};
    char place[16];
    size_t count;
    railbus_event event;

    INVALID(railbus_bus_open("misuse", ZT, NULL, NULL, &error));
    INVALID(railbus_channel_create(bus, "x", ZT, NULL, &channel, &error));
    options.kind = 9;
    INVALID(railbus_channel_create(bus, "x", ZT, &options, &channel, &error));
    options.kind = RAILBUS_STREAM;
    options.flags = 1u << 31;
    INVALID(railbus_channel_create(bus, "x", ZT, &options, &channel, &error));
    INVALID(railbus_channel_attach(bus, NULL, 7, &channel, &error));
    INVALID(railbus_channel_attach(bus, "\xFF\xFE", ZT, &channel, &error));
    sender_options.flags = 1u << 31;
    INVALID(railbus_sender_open(stream, &sender_options, &other_sender, &error));
    sender_options.flags = 0;
    sender_options.wait = 77;
    INVALID(railbus_sender_open(stream, &sender_options, &other_sender, &error));
    reader_options.start = 77;
    INVALID(railbus_reader_open(stream, &reader_options, &other_reader, &error));
    worker_options.grab = 65;
    INVALID(railbus_worker_open(queue, &worker_options, &other_worker, &error));

    INVALID(railbus_publish(sender, NULL, 1, 0, NULL, &error));
    INVALID(railbus_publish(sender, "x", SIZE_MAX, 0, NULL, &error));
    OK(railbus_publish(sender, NULL, 0, 0, NULL, NULL));
    attributes.flags = 128;
    INVALID(railbus_publish_with(sender, "x", 1, &attributes, 0, NULL, &error));
    EXPECT(RAILBUS_NOT_SEQUENCED, railbus_publish_numbered(sender, 1, "x", 1, NULL, 0, NULL, &error));
    INVALID(railbus_publish_batch(sender, &bad, 1, 0, &count, &error));
    INVALID(railbus_publish_batch(sender, NULL, 1, 0, &count, &error));
    OK(railbus_publish_batch(sender, NULL, 0, 0, &count, &error));
    INVALID(railbus_publish_strided(sender, place, 8, lengths, 2, 0, &count, &error));
    INVALID(railbus_publish_strided(sender, place, SIZE_MAX / 2, NULL, 4, 0, &count, &error));
    static char large[4096];
    EXPECT(RAILBUS_TOO_LONG, railbus_publish_strided(sender, large, sizeof large, NULL, 1, 0, &count, &error));
    EXPECT(RAILBUS_CLAIM, railbus_commit(sender, 0, NULL, &error));
    EXPECT(RAILBUS_CLAIM, railbus_abort(sender, &error));
    INVALID(railbus_claim(sender, 1, NULL, 0, NULL, &error));

    void *payload;
    OK(railbus_claim(sender, 8, NULL, 0, &payload, &error));
    EXPECT(RAILBUS_CLAIM, railbus_claim(sender, 8, NULL, 0, &payload, &error));
    EXPECT(RAILBUS_TOO_LONG, railbus_commit(sender, 9, NULL, &error));
    memcpy(payload, "12345678", 8);
    OK(railbus_commit(sender, 3, NULL, &error));

    INVALID(railbus_receive(reader, 0, NULL, &error));
    INVALID(railbus_receive_batch(reader, &event, 0, 0, &count, &error));
    INVALID(railbus_receive_into(reader, NULL, 0, &count, &error));
    to.payloads = place;
    to.stride_bytes = 2;
    INVALID(railbus_receive_into(reader, &to, 0, &count, &error));
    to.events_max = 8;
    /* Without lengths, every payload must be as long as a place: this one is empty, and stays first in line. */
    EXPECT(RAILBUS_WRONG_LENGTH, railbus_receive_into(reader, &to, 0, &count, &error));
    EXPECT(RAILBUS_WRONG_LENGTH, railbus_receive_into(reader, &to, 0, &count, &error));
    OK(railbus_release(reader, &error));
    OK(railbus_receive(reader, 0, &event, &error));
    EXPECT(0, (int32_t)event.payload_bytes);
    /* The next one is too long for a place, but there are lengths. */
    uint32_t found[8];
    to.lengths = found;
    EXPECT(RAILBUS_WRONG_LENGTH, railbus_receive_into(reader, &to, 0, &count, &error));
    EXPECT(0, (int32_t)count);
    to.stride_bytes = 3;
    to.events_max = 5;
    OK(railbus_receive_into(reader, &to, 0, &count, &error));
    EXPECT(1, (int32_t)count);
    EXPECT(0, memcmp(place, "123", 3));
    EXPECT(RAILBUS_EMPTY, railbus_receive_into(reader, &to, 0, &count, &error));

    INVALID(railbus_channel_evict(stream, 3, 0, 0, NULL, &error));
    EXPECT(RAILBUS_NOT_FOUND, railbus_channel_evict(stream, RAILBUS_CONSUMERS, 60, 0, NULL, &error));
    EXPECT(RAILBUS_WRONG_LENGTH, railbus_channel_inspect(stream, NULL, &participant, 1, &count, &error));
    EXPECT(RAILBUS_WRONG_LENGTH, railbus_bus_list(bus, place, 3, &count, &error));
    EXPECT(13, (int32_t)count);
    OK(railbus_bus_list(bus, place, sizeof place, &count, &error));
    EXPECT(0, memcmp(place, "queue\0stream\0", count));
}

int main(void) {
    railbus_replay *replay;
    railbus_event event;
    size_t count;
    call_all(RAILBUS_INVALID, NULL, NULL, NULL, NULL, NULL, NULL);
    open_all();
    wrong_sizes();
    wrong_versions();
    wrong_arguments();

    /* Handles of other types. */
    call_all(RAILBUS_CLOSED_HANDLE, (railbus_bus *)stream, (railbus_channel *)bus, (railbus_sender *)reader,
             (railbus_reader *)sender, (railbus_worker *)reader, (railbus_bridge *)worker);
    CLOSED(railbus_reader_close((railbus_reader *)sender, &error));
    CLOSED(railbus_recorder_stop((railbus_recorder *)sender, &error));
    CLOSED(railbus_replay_close((railbus_replay *)sender, &error));
    CLOSED(railbus_replay_next((railbus_replay *)reader, 0, &event, NULL, &error));
    CLOSED(railbus_replay_batch((railbus_replay *)reader, &event, NULL, 1, 0, &count, &error));
    INVALID(railbus_replay_next(NULL, 0, &event, NULL, &error));
    INVALID(railbus_replay_next(NULL, 0, NULL, NULL, &error));
    INVALID(railbus_replay_batch(NULL, &event, NULL, 0, 0, &count, &error));
    INVALID(railbus_replay_batch(NULL, &event, NULL, 1, 0, &count, &error));
    EXPECT(RAILBUS_NOT_FOUND, railbus_replay_open("/nowhere", ZT, NULL, &replay, &error));
    OK(railbus_replay_close(NULL, &error));
    OK(railbus_recorder_stop(NULL, &error));

    /* Closed handles, also when others were opened and closed since. */
    railbus_bus *closed_bus = bus;
    railbus_channel *closed_channel = stream;
    railbus_sender *closed_sender = sender;
    railbus_reader *closed_reader = reader;
    railbus_worker *closed_worker = worker;
    railbus_bridge *closed_bridge = bridge;
    close_all();
    for (int i = 0; i < 20; i++) {
        call_all(RAILBUS_CLOSED_HANDLE, closed_bus, closed_channel, closed_sender, closed_reader, closed_worker,
                 closed_bridge);
        CLOSED(railbus_bus_close(closed_bus, &error));
        CLOSED(railbus_sender_close(closed_sender, &error));
        open_all();
        close_all();
    }
    OK(railbus_sender_close(NULL, &error));
    open_all();
    OK(railbus_bus_remove(bus, "stream", ZT, &error));
    OK(railbus_bus_remove(bus, "queue", ZT, &error));
    close_all();
    printf("%d checks\n", checks);
    return 0;
}
