/* The role `subscribe`. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

static railbus_reader *reader;
static railbus_error error;
static tally all;
static uint64_t slow_us;
static int with_attributes;

static void tally_event(const railbus_event *event) {
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    if (with_attributes)
        must(railbus_event_attributes(event, &attributes, &error), &error, "attributes");
    count_event(&all, event->payload, event->payload_bytes, event->position, with_attributes ? &attributes : NULL);
    sleep_us(slow_us);
}

/* Whether receiving goes on: a loss is counted, an end ends it, another failure is said. */
static int goes_on(int32_t result) {
    if (result == RAILBUS_LOST) {
        all.lost += error.lost_events;
        return 1;
    }
    if (result == RAILBUS_CLOSED)
        return 0;
    must(result, &error, "receive");
    return 1;
}

/* One by one: `receive` copies what it got and looks at the copy, `view` looks in place. */
static int one(int in_place) {
    railbus_event event;
    int32_t result = railbus_receive(reader, WAIT_NS, &event, &error);
    if (result != RAILBUS_OK)
        return goes_on(result);
    uint8_t *copy = NULL;
    if (!in_place && !with_attributes) {
        copy = allocate(event.payload_bytes);
        memcpy(copy, event.payload, event.payload_bytes);
        event.payload = copy;
    }
    tally_event(&event);
    free(copy);
    return 1;
}

static int batch_in_place(railbus_event *events, size_t most) {
    size_t count;
    int32_t result = railbus_receive_batch(reader, events, most, WAIT_NS, &count, &error);
    for (size_t i = 0; i < count; i++)
        tally_event(&events[i]);
    return goes_on(result);
}

static int batch_into(railbus_strided *to, size_t most) {
    size_t count;
    to->events_max = most;
    int32_t result = railbus_receive_into(reader, to, WAIT_NS, &count, &error);
    for (size_t i = 0; i < count; i++) {
        count_event(&all, (uint8_t *)to->payloads + i * to->stride_bytes, to->lengths[i], to->positions[i], NULL);
        sleep_us(slow_us);
    }
    return goes_on(result);
}

static int by_descriptor(railbus_bridge *bridge, int descriptor) {
    railbus_event event;
    int32_t result = railbus_receive(reader, 0, &event, &error);
    if (result == RAILBUS_OK) {
        tally_event(&event);
        return 1;
    }
    if (result != RAILBUS_EMPTY)
        return goes_on(result);
    struct pollfd wanted = {descriptor, POLLIN, 0};
    must(railbus_bridge_arm_reader(bridge, reader, &error), &error, "arm the bridge");
    if (poll(&wanted, 1, 20000) == 0)
        fail("TIMED_OUT", "the descriptor did not become readable");
    must(railbus_bridge_drain(bridge, &error), &error, "drain the bridge");
    return 1;
}

static railbus_reader_options options(void) {
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    const char *start = argument("start", "live");
    options.name = argument("name", NULL);
    options.flags = (number("durable", 0) ? RAILBUS_DURABLE : 0) | (number("lossy", 0) ? RAILBUS_LOSSY : 0) |
        (number("until_closed", 0) ? RAILBUS_UNTIL_CLOSED : 0) | (number("manual", 0) ? RAILBUS_MANUAL : 0);
    if (strcmp(start, "oldest") == 0) {
        options.start = RAILBUS_START_OLDEST;
    } else if (strncmp(start, "last:", 5) == 0) {
        options.start = RAILBUS_START_LAST;
        options.position = strtoull(start + 5, NULL, 10);
    } else if (strcmp(start, "live") != 0) {
        options.start = RAILBUS_START_POSITION;
        options.position = number("start", 0);
    }
    return options;
}

int role_subscribe(void) {
    allow_keys(" bus channel events mode batch stride name durable lossy manual acknowledge until_closed start "
               "slow_us attributes ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    railbus_reader_options how = options();
    must(railbus_reader_open(channel, &how, &reader, &error), &error, "open a reader");
    uint64_t events = number("events", 0);
    const char *mode = argument("mode", "receive");
    size_t batch = (size_t)number("batch", 16);
    slow_us = number("slow_us", 0);
    with_attributes = number("attributes", 0) != 0;
    railbus_event *found = allocate(batch * sizeof *found);
    railbus_strided to = RAILBUS_STRIDED_INIT;
    to.stride_bytes = (size_t)number("stride", 4096);
    to.payloads = allocate(batch * to.stride_bytes);
    to.lengths = allocate(batch * sizeof *to.lengths);
    to.positions = allocate(batch * sizeof *to.positions);
    railbus_bridge *bridge = NULL;
    int descriptor = -1;
    if (strcmp(mode, "bridge") == 0)
        must(railbus_bridge_open(channel, &bridge, &descriptor, &error), &error, "open a bridge");
    printf("ready");
    end_line();
    for (int is_open = 1; is_open && all.events + all.lost < events;) {
        uint64_t left = events - all.events - all.lost;
        size_t most = left < batch ? (size_t)left : batch;
        if (strcmp(mode, "receive") == 0)
            is_open = one(0);
        else if (strcmp(mode, "view") == 0)
            is_open = one(1);
        else if (strcmp(mode, "batch") == 0)
            is_open = batch_in_place(found, most);
        else if (strcmp(mode, "into") == 0)
            is_open = batch_into(&to, most);
        else if (bridge != NULL)
            is_open = by_descriptor(bridge, descriptor);
        else
            return 2;
    }
    if (number("acknowledge", 0) != 0) {
        railbus_reader_stats stats = {.struct_size = sizeof stats};
        must(railbus_reader_statistics(reader, &stats, &error), &error, "statistics");
        uint64_t position = number("acknowledge", 0) == 1 ? stats.position : all.last;
        must(railbus_acknowledge_to(reader, position, &error), &error, "acknowledge");
    }
    if (number("durable", 0))
        must(railbus_release(reader, &error), &error, "release");
    say_tally("done", &all, 1);
    end_line();
    wait_for_end();
    free(found);
    free(to.payloads);
    free(to.lengths);
    free(to.positions);
    must(railbus_bridge_close(bridge, &error), &error, "close the bridge");
    must(railbus_reader_close(reader, &error), &error, "close the reader");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
