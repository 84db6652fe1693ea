/*
 * The role `probe`: one mistake each, and the answer to it. Every probe returns the result of its last step, and leaves
 * its handles to `leave`, which closes and removes everything.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static railbus_bus *bus;
static railbus_error error;
/* What the current probe has open. */
static railbus_channel *channel;
static railbus_sender *sender, *other_sender;
static railbus_reader *reader, *other_reader;
static railbus_worker *worker;
/* The name of its channel. */
static const char *name;

static railbus_channel_options small(uint32_t kind) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    options.kind = kind;
    if (kind == RAILBUS_STREAM) {
        options.capacity_bytes = 4096;
    } else {
        options.slots = 64;
        options.slot_bytes = 64;
    }
    return options;
}

static int32_t create(const railbus_channel_options *options) {
    railbus_channel_close(channel, NULL);
    return railbus_channel_create(bus, name, RAILBUS_ZERO_TERMINATED, options, &channel, &error);
}

static void make(uint32_t kind) {
    railbus_channel_options options = small(kind);
    must(create(&options), &error, "create");
}

static void send_to(uint32_t kind) {
    make(kind);
    must(railbus_sender_open(channel, NULL, &sender, &error), &error, "open a sender");
}

static int32_t read_with(uint32_t flags, const char *reader_name, railbus_reader **where) {
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    options.flags = flags;
    options.name = reader_name;
    return railbus_reader_open(channel, &options, where, &error);
}

static void read_too(void) {
    must(read_with(0, NULL, &reader), &error, "open a reader");
}

static void work_too(void) {
    must(railbus_worker_open(channel, NULL, &worker, &error), &error, "open a worker");
}

static int32_t publish_one(uint64_t timeout_ns) {
    return railbus_publish(sender, "12345678", 8, timeout_ns, NULL, &error);
}

static int32_t publish_until_not(uint64_t timeout_ns) {
    int32_t result;
    while ((result = publish_one(timeout_ns)) == RAILBUS_OK)
        ;
    return result;
}

static int32_t attach_to(const char *text, size_t bytes) {
    return railbus_channel_attach(bus, text, bytes, &channel, &error);
}

static int32_t attach_all_of(const char *text) {
    return attach_to(text, RAILBUS_ZERO_TERMINATED);
}

static char *exes(size_t count) {
    static char text[128];
    memset(text, 'x', count);
    text[count] = 0;
    return text;
}

/* Publishes a payload of so many bytes and receives it. */
static int32_t there_and_back(size_t bytes) {
    railbus_event event;
    uint8_t *payload = allocate(bytes);
    fill_payload(payload, bytes, 1, 0);
    int32_t result = railbus_publish(sender, payload, bytes, 0, NULL, &error);
    if (result == RAILBUS_OK)
        result = railbus_receive(reader, WAIT_NS, &event, &error);
    if (result == RAILBUS_OK && (event.payload_bytes != bytes || memcmp(event.payload, payload, bytes) != 0))
        result = RAILBUS_CORRUPT;
    free(payload);
    return result;
}

static int32_t name_empty(void) { return attach_all_of(""); }
static int32_t name_slash(void) { return attach_all_of("a/b"); }
static int32_t name_dot(void) { return attach_all_of(".a"); }
static int32_t name_zero(void) { return attach_to("a\0b", 3); }
static int32_t name_control(void) { return attach_all_of("a\nb"); }
static int32_t name_long(void) { return attach_all_of(exes(101)); }

static int32_t name_100(void) {
    railbus_channel_options options = small(RAILBUS_STREAM);
    name = exes(100);
    return create(&options);
}

static int32_t name_unicode(void) {
    name = "kanal \xC3\xA4 \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x9A\x8C";
    send_to(RAILBUS_STREAM);
    read_too();
    return there_and_back(8);
}

static int32_t bus_name_zero(void) {
    railbus_bus *other;
    return railbus_bus_open("a\0b", 3, NULL, &other, &error);
}

static int32_t attach_missing(void) { return attach_all_of(name); }
static int32_t attach_timed_out(void) {
    return railbus_channel_attach_timeout(bus, name, RAILBUS_ZERO_TERMINATED, 20000000, &channel, &error);
}
static int32_t remove_missing(void) { return railbus_bus_remove(bus, name, RAILBUS_ZERO_TERMINATED, &error); }

static int32_t create_twice(void) {
    railbus_channel_options options = small(RAILBUS_STREAM);
    make(RAILBUS_STREAM);
    return create(&options);
}

static int32_t create_other_kind(void) {
    railbus_channel_options options = small(RAILBUS_QUEUE);
    make(RAILBUS_STREAM);
    railbus_channel_close(channel, NULL);
    return railbus_channel_create_or_attach(bus, name, RAILBUS_ZERO_TERMINATED, &options, &channel, &error);
}

static int32_t capacity_odd(void) {
    railbus_channel_options options = small(RAILBUS_STREAM);
    options.capacity_bytes = 5000;
    return create(&options);
}

static int32_t slots_of_stream(void) {
    railbus_channel_options options = small(RAILBUS_STREAM);
    options.slots = 64;
    return create(&options);
}

static int32_t worker_of_stream(void) {
    make(RAILBUS_STREAM);
    return railbus_worker_open(channel, NULL, &worker, &error);
}

static int32_t second_publisher(void) {
    send_to(RAILBUS_STREAM);
    return railbus_sender_open(channel, NULL, &other_sender, &error);
}

static int32_t durable_without_name(void) {
    make(RAILBUS_STREAM);
    return read_with(RAILBUS_DURABLE, NULL, &reader);
}

static int32_t durable_in_use(void) {
    make(RAILBUS_STREAM);
    must(read_with(RAILBUS_DURABLE, "mine", &reader), &error, "open a reader");
    return read_with(RAILBUS_DURABLE, "mine", &other_reader);
}

static int32_t lossy_tap(void) {
    make(RAILBUS_QUEUE);
    return read_with(RAILBUS_LOSSY, NULL, &reader);
}

static int32_t manual_lossy(void) {
    make(RAILBUS_STREAM);
    return read_with(RAILBUS_LOSSY | RAILBUS_MANUAL, NULL, &reader);
}

static int32_t acknowledge(uint32_t flags, uint64_t position) {
    send_to(RAILBUS_STREAM);
    must(read_with(flags, NULL, &reader), &error, "open a reader");
    must(publish_one(0), &error, "publish");
    return railbus_acknowledge_to(reader, position, &error);
}

static int32_t acknowledge_beyond(void) { return acknowledge(RAILBUS_MANUAL, 8); }

static int32_t acknowledge_not_manual(void) { return acknowledge(0, 0); }

static int32_t start_not_retained(void) {
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    make(RAILBUS_STREAM);
    options.start = RAILBUS_START_POSITION;
    options.position = 1ULL << 40;
    return railbus_reader_open(channel, &options, &reader, &error);
}

static int32_t payload_empty(void) {
    send_to(RAILBUS_TOPIC);
    read_too();
    return there_and_back(0);
}

static int32_t payload_max(void) {
    send_to(RAILBUS_STREAM);
    read_too();
    return there_and_back((size_t)payload_max_of(channel));
}

static int32_t too_long(void) {
    send_to(RAILBUS_STREAM);
    read_too();
    return there_and_back((size_t)payload_max_of(channel) + 1);
}

static int32_t claim_too_long(void) {
    void *payload;
    send_to(RAILBUS_TOPIC);
    return railbus_claim(sender, (size_t)payload_max_of(channel) + 1, NULL, 0, &payload, &error);
}

static int32_t receive_for(uint64_t timeout_ns) {
    railbus_event event;
    return railbus_receive(reader, timeout_ns, &event, &error);
}

static int32_t empty(void) {
    make(RAILBUS_STREAM);
    read_too();
    return receive_for(0);
}

static int32_t timed_out(void) {
    make(RAILBUS_STREAM);
    read_too();
    return receive_for(20000000);
}

static int32_t take_empty(void) {
    railbus_job job;
    make(RAILBUS_QUEUE);
    work_too();
    return railbus_take(worker, 0, &job, &error);
}

static int32_t full(void) {
    send_to(RAILBUS_STREAM);
    read_too();
    return publish_until_not(0);
}

static int32_t full_timed_out(void) {
    send_to(RAILBUS_TOPIC);
    read_too();
    return publish_until_not(20000000);
}

static int32_t dropped(void) {
    railbus_channel_options options = small(RAILBUS_TOPIC);
    options.overflow = RAILBUS_OVERFLOW_DROP_NEWEST;
    must(create(&options), &error, "create");
    must(railbus_sender_open(channel, NULL, &sender, &error), &error, "open a sender");
    read_too();
    return publish_until_not(RAILBUS_FOREVER);
}

static int32_t no_worker(void) {
    send_to(RAILBUS_QUEUE);
    work_too();
    must(railbus_worker_close(worker, &error), &error, "close the worker");
    worker = NULL;
    return publish_until_not(0);
}

static int32_t lost(void) {
    send_to(RAILBUS_STREAM);
    must(read_with(RAILBUS_LOSSY, NULL, &reader), &error, "open a reader");
    for (int i = 0; i < 1000; i++)
        must(publish_one(0), &error, "publish");
    return receive_for(WAIT_NS);
}

static int32_t closed(void) {
    send_to(RAILBUS_STREAM);
    must(read_with(RAILBUS_UNTIL_CLOSED, NULL, &reader), &error, "open a reader");
    must(publish_one(0), &error, "publish");
    must(railbus_sender_close(sender, &error), &error, "close the sender");
    sender = NULL;
    must(receive_for(WAIT_NS), &error, "receive");
    return receive_for(WAIT_NS);
}

static int32_t not_held(void) {
    railbus_job job;
    send_to(RAILBUS_QUEUE);
    work_too();
    must(publish_one(0), &error, "publish");
    must(railbus_take(worker, WAIT_NS, &job, &error), &error, "take");
    must(railbus_done(worker, &job, 1, &error), &error, "done");
    return railbus_done(worker, &job, 1, &error);
}

static int32_t claim_open(void) {
    void *payload;
    send_to(RAILBUS_TOPIC);
    must(railbus_claim(sender, 8, NULL, 0, &payload, &error), &error, "claim");
    return publish_one(0);
}

static int32_t evicted(void) {
    railbus_participant participant;
    size_t count;
    uint32_t outcome;
    make(RAILBUS_STREAM);
    read_too();
    must(railbus_channel_inspect(channel, NULL, &participant, 1, &count, &error), &error, "inspect");
    must(railbus_channel_evict(channel, RAILBUS_CONSUMERS, participant.index, 0, &outcome, &error), &error, "evict");
    return receive_for(0);
}

static void remove_it(void) {
    must(railbus_bus_remove(bus, name, RAILBUS_ZERO_TERMINATED, &error), &error, "remove");
}

static int32_t removed_reader(void) {
    make(RAILBUS_STREAM);
    read_too();
    remove_it();
    return receive_for(WAIT_NS);
}

static int32_t removed_worker(void) {
    railbus_job job;
    make(RAILBUS_QUEUE);
    work_too();
    remove_it();
    return railbus_take(worker, WAIT_NS, &job, &error);
}

static int32_t removed_sender(void) {
    send_to(RAILBUS_TOPIC);
    remove_it();
    publish_one(0); /* It may be on its way. */
    return publish_one(0);
}

static int32_t closed_sender(void) {
    send_to(RAILBUS_STREAM);
    must(railbus_sender_close(sender, &error), &error, "close");
    return publish_one(0);
}

static int32_t closed_reader(void) {
    make(RAILBUS_STREAM);
    read_too();
    must(railbus_reader_close(reader, &error), &error, "close");
    return receive_for(0);
}

static int32_t closed_worker(void) {
    railbus_job job;
    make(RAILBUS_QUEUE);
    work_too();
    must(railbus_worker_close(worker, &error), &error, "close");
    return railbus_take(worker, 0, &job, &error);
}

static int32_t closed_channel(void) {
    make(RAILBUS_STREAM);
    must(railbus_channel_close(channel, &error), &error, "close");
    return railbus_sender_open(channel, NULL, &sender, &error);
}

static int32_t closed_bus(void) {
    railbus_bus *other;
    must(railbus_bus_open("other", RAILBUS_ZERO_TERMINATED, NULL, &other, &error), &error, "open a bus");
    must(railbus_bus_close(other, &error), &error, "close");
    return railbus_channel_attach(other, name, RAILBUS_ZERO_TERMINATED, &channel, &error);
}

static int32_t forked(void) {
    int status;
    send_to(RAILBUS_STREAM);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(publish_one(0) == RAILBUS_FORKED ? 7 : 1);
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("IO", "cannot fork");
    return WIFEXITED(status) && WEXITSTATUS(status) == 7 ? RAILBUS_FORKED : RAILBUS_OK;
}

#define PROBE(probe) {#probe, probe}

static const struct {
    const char *name;
    int32_t (*run)(void);
} all[] = {
    PROBE(name_empty),       PROBE(name_slash),
    PROBE(name_dot),         PROBE(name_zero),
    PROBE(name_control),     PROBE(name_long),
    PROBE(name_100),         PROBE(name_unicode),
    PROBE(bus_name_zero),    PROBE(attach_missing),
    PROBE(attach_timed_out), PROBE(remove_missing),   PROBE(create_twice),
    PROBE(create_other_kind), PROBE(capacity_odd),
    PROBE(slots_of_stream),  PROBE(worker_of_stream),
    PROBE(second_publisher), PROBE(durable_without_name),
    PROBE(durable_in_use),   PROBE(lossy_tap),
    PROBE(manual_lossy),     PROBE(acknowledge_beyond),
    PROBE(acknowledge_not_manual),
    PROBE(start_not_retained), PROBE(payload_empty),
    PROBE(payload_max),      PROBE(too_long),
    PROBE(claim_too_long),   PROBE(empty),
    PROBE(timed_out),        PROBE(take_empty),
    PROBE(full),             PROBE(full_timed_out),
    PROBE(dropped),          PROBE(no_worker),
    PROBE(lost),             PROBE(closed),
    PROBE(not_held),         PROBE(claim_open),
    PROBE(evicted),          PROBE(removed_reader),
    PROBE(removed_worker),   PROBE(removed_sender),
    PROBE(closed_sender),
    PROBE(closed_reader),    PROBE(closed_worker),
    PROBE(closed_channel),   PROBE(closed_bus),
    PROBE(forked),
};

/* Closes what a probe left open; handles that it closed itself say so, and are not looked at further. */
static void leave(void) {
    railbus_sender_close(sender, NULL);
    railbus_sender_close(other_sender, NULL);
    railbus_reader_close(reader, NULL);
    railbus_reader_close(other_reader, NULL);
    railbus_worker_close(worker, NULL);
    railbus_channel_close(channel, NULL);
    railbus_bus_remove(bus, name, RAILBUS_ZERO_TERMINATED, NULL);
    sender = other_sender = NULL;
    reader = other_reader = NULL;
    worker = NULL;
    channel = NULL;
}

int probes(int count, char **names) {
    bus = open_bus();
    for (int i = 0; i < count; i++) {
        size_t k = 0;
        int32_t result;
        if (strchr(names[i], '=') != NULL)
            continue;
        if (probe_table(names[i], bus, &result)) {
            printf("probe %s %s", names[i], symbol(result));
            end_line();
            continue;
        }
        while (k < sizeof all / sizeof *all && strcmp(all[k].name, names[i]) != 0)
            k++;
        if (k == sizeof all / sizeof *all) {
            fprintf(stderr, "unknown probe %s\n", names[i]);
            return 2;
        }
        name = names[i];
        printf("probe %s %s", names[i], symbol(all[k].run()));
        end_line();
        leave();
    }
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
