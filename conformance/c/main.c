/*
 * The conformance program of C: plays the roles of conformance/PROTOCOL.md. The short roles are here, the others in
 * files of their names.
 */
#include "common.h"

#include <string.h>

static railbus_error error;

static uint32_t kind_of(const char *name) {
    return strcmp(name, "stream") == 0 ? RAILBUS_STREAM
        : strcmp(name, "queue") == 0   ? RAILBUS_QUEUE
        : strcmp(name, "topic") == 0   ? RAILBUS_TOPIC
                                       : 0;
}

static const char *kind_name(uint32_t kind) {
    return kind == RAILBUS_STREAM ? "stream" : kind == RAILBUS_QUEUE ? "queue" : "topic";
}

static int role_create(void) {
    allow_keys(" bus channel kind capacity slots slot_bytes stamp max_attempts overflow first_position ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel;
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    const char *name = argument("channel", ""), *overflow = argument("overflow", "block");
    options.kind = kind_of(argument("kind", ""));
    options.capacity_bytes = number("capacity", 0);
    options.slots = number("slots", 0);
    options.slot_bytes = number("slot_bytes", 0);
    options.flags = number("stamp", 0) ? RAILBUS_STAMP : 0;
    options.max_attempts = (uint32_t)number("max_attempts", 0);
    options.first_position = number("first_position", 0);
    options.overflow = strcmp(overflow, "drop-newest") == 0 ? RAILBUS_OVERFLOW_DROP_NEWEST
        : strcmp(overflow, "lossy-readers") == 0            ? RAILBUS_OVERFLOW_LOSSY_READERS
                                                            : RAILBUS_OVERFLOW_BLOCK;
    must(railbus_channel_create(bus, name, RAILBUS_ZERO_TERMINATED, &options, &channel, &error), &error, "create");
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    must(railbus_channel_describe(channel, &header, &error), &error, "describe");
    printf("done payload_max=%llu capacity=%llu slots=%llu slot_bytes=%llu", (unsigned long long)header.payload_max,
           (unsigned long long)header.capacity_bytes, (unsigned long long)header.slots,
           (unsigned long long)header.slot_bytes);
    end_line();
    wait_for_end();
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}

static int role_attach(void) {
    allow_keys(" bus channel as await_ms ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = NULL;
    railbus_sender *sender = NULL;
    railbus_reader *reader = NULL;
    railbus_worker *worker = NULL;
    const char *name = argument("channel", ""), *as = argument("as", "");
    uint64_t limit_ns = number("await_ms", 0) * 1000000;
    int32_t result;
    if (limit_ns > 0) {
        printf("waiting");
        end_line();
        result = railbus_channel_attach_timeout(bus, name, RAILBUS_ZERO_TERMINATED, limit_ns, &channel, &error);
    } else {
        result = railbus_channel_attach(bus, name, RAILBUS_ZERO_TERMINATED, &channel, &error);
    }
    if (result == RAILBUS_OK && strcmp(as, "publish") == 0)
        result = railbus_sender_open(channel, NULL, &sender, &error);
    else if (result == RAILBUS_OK && strcmp(as, "subscribe") == 0)
        result = railbus_reader_open(channel, NULL, &reader, &error);
    else if (result == RAILBUS_OK && strcmp(as, "work") == 0)
        result = railbus_worker_open(channel, NULL, &worker, &error);
    else if (result == RAILBUS_OK && strcmp(as, "inspect") == 0)
        result = railbus_channel_inspect(channel, NULL, NULL, 0, NULL, &error);
    printf("done result=%s", symbol(result));
    end_line();
    wait_for_end();
    must(railbus_sender_close(sender, &error), &error, "close the sender");
    must(railbus_reader_close(reader, &error), &error, "close the reader");
    must(railbus_worker_close(worker, &error), &error, "close the worker");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}

static int role_inspect(void) {
    allow_keys(" bus channel ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    railbus_channel_info info = RAILBUS_CHANNEL_INFO_INIT;
    railbus_participant participants[64];
    size_t count, live[3] = {0, 0, 0};
    must(railbus_channel_describe(channel, &header, &error), &error, "describe");
    must(railbus_channel_inspect(channel, &info, participants, 64, &count, &error), &error, "inspect");
    for (size_t i = 0; i < count; i++)
        if (participants[i].life == RAILBUS_LIVE)
            live[participants[i].side]++;
    printf("done kind=%s published=%llu depth=%llu producers=%zu consumers=%zu", kind_name(header.kind),
           (unsigned long long)info.published, (unsigned long long)info.depth, live[RAILBUS_PRODUCERS],
           live[RAILBUS_CONSUMERS]);
    end_line();
    wait_for_end();
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}

int main(int count, char **values) {
    const char *role = count > 1 ? values[1] : "";
    if (count > 1)
        arguments(count - 2, values + 2);
    if (strcmp(role, "create") == 0)
        return role_create();
    if (strcmp(role, "publish") == 0)
        return role_publish();
    if (strcmp(role, "subscribe") == 0)
        return role_subscribe();
    if (strcmp(role, "work") == 0)
        return role_work();
    if (strcmp(role, "attach") == 0)
        return role_attach();
    if (strcmp(role, "inspect") == 0)
        return role_inspect();
    if (strcmp(role, "churn") == 0)
        return role_churn();
    if (strcmp(role, "replay") == 0)
        return role_replay();
    if (strcmp(role, "set") == 0)
        return role_set();
    if (strcmp(role, "read") == 0)
        return role_read();
    if (strcmp(role, "probe") == 0)
        return probes(count - 2, values + 2);
    fprintf(stderr, "unknown role '%s'; see conformance/PROTOCOL.md\n", role);
    return 2;
}
