/* The role `publish`. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

#define SIZES_MAX 64

static railbus_sender *sender;
static railbus_error error;
static tally all;
static uint64_t sizes[SIZES_MAX], sizes_count, start, seed, payload_max;
static int with_attributes;

static size_t size_of(uint64_t event) {
    return (size_t)sizes[event % sizes_count];
}

static void read_sizes(void) {
    const char *at = argument("sizes", "8");
    while (sizes_count < SIZES_MAX) {
        char *end;
        if (strncmp(at, "max", 3) == 0) {
            sizes[sizes_count++] = payload_max;
            at += 3;
        } else {
            sizes[sizes_count++] = strtoull(at, &end, 10);
            at = end;
        }
        if (*at != ',')
            break;
        at++;
    }
}

static void tally_published(const uint8_t *payload, uint64_t event, uint64_t position) {
    railbus_attributes attributes = attributes_of(event);
    count_event(&all, payload, (uint32_t)size_of(event), position, with_attributes ? &attributes : NULL);
}

static void copies(uint8_t *buffer, uint64_t events, int attributed) {
    for (uint64_t i = start; i < start + events; i++) {
        uint64_t position;
        fill_payload(buffer, size_of(i), i, seed);
        if (attributed) {
            railbus_attributes attributes = attributes_of(i);
            must(railbus_publish_with(sender, buffer, size_of(i), &attributes, WAIT_NS, &position, &error), &error,
                 "publish_with");
        } else {
            must(railbus_publish(sender, buffer, size_of(i), WAIT_NS, &position, &error), &error, "publish");
        }
        tally_published(buffer, i, position);
    }
}

static void claims(uint8_t *buffer, uint64_t events) {
    for (uint64_t i = start; i < start + events; i++) {
        void *payload;
        uint64_t position;
        size_t bytes = size_of(i);
        if (i % 5 == 4) {
            must(railbus_claim(sender, bytes, NULL, WAIT_NS, &payload, &error), &error, "claim");
            memset(payload, 0xEE, bytes);
            must(railbus_abort(sender, &error), &error, "abort");
        }
        size_t claimed = i % 2 == 1 && bytes + 8 <= payload_max ? bytes + 8 : bytes;
        must(railbus_claim(sender, claimed, NULL, WAIT_NS, &payload, &error), &error, "claim");
        fill_payload(payload, bytes, i, seed);
        must(railbus_commit(sender, bytes, &position, &error), &error, "commit");
        fill_payload(buffer, bytes, i, seed);
        tally_published(buffer, i, position);
    }
}

static void batches(uint64_t events, size_t batch, int strided) {
    size_t stride = 0;
    for (uint64_t i = 0; i < sizes_count; i++)
        stride = sizes[i] > stride ? (size_t)sizes[i] : stride;
    uint8_t *buffer = allocate(batch * stride);
    uint32_t *lengths = allocate(batch * sizeof *lengths);
    railbus_bytes *payloads = allocate(batch * sizeof *payloads);
    for (uint64_t done = 0; done < events;) {
        size_t count = events - done < batch ? (size_t)(events - done) : batch, published;
        for (size_t k = 0; k < count; k++) {
            uint64_t i = start + done + k;
            fill_payload(buffer + k * stride, size_of(i), i, seed);
            lengths[k] = (uint32_t)size_of(i);
            payloads[k].bytes = buffer + k * stride;
            payloads[k].count = size_of(i);
            tally_published(buffer + k * stride, i, 0);
        }
        int32_t result = strided
            ? railbus_publish_strided(sender, buffer, stride, lengths, count, WAIT_NS, &published, &error)
            : railbus_publish_batch(sender, payloads, count, WAIT_NS, &published, &error);
        must(result, &error, "publish a batch");
        if (published != count)
            fail("INVALID", "a batch was published in part, and said to be published");
        done += count;
    }
    free(buffer);
    free(lengths);
    free(payloads);
}

int role_publish(void) {
    allow_keys(" bus channel events sizes start seed mode batch hold_claim attributes wait ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    must(railbus_sender_open(channel, NULL, &sender, &error), &error, "open a sender");
    payload_max = payload_max_of(channel);
    read_sizes();
    start = number("start", 0);
    seed = number("seed", 0);
    with_attributes = number("attributes", 0) != 0;
    uint64_t events = number("events", 0);
    const char *mode = argument("mode", "copy");
    uint8_t *buffer = allocate((size_t)payload_max);
    printf("ready");
    end_line();
    if (number("wait", 0))
        wait_for_line();
    if (strcmp(mode, "copy") == 0 || strcmp(mode, "attributes") == 0)
        copies(buffer, events, strcmp(mode, "attributes") == 0);
    else if (strcmp(mode, "claim") == 0)
        claims(buffer, events);
    else if (strcmp(mode, "batch") == 0 || strcmp(mode, "strided") == 0)
        batches(events, (size_t)number("batch", 16), strcmp(mode, "strided") == 0);
    else
        return 2;
    int is_holding = number("hold_claim", 0) != 0;
    if (is_holding) {
        void *payload;
        must(railbus_claim(sender, 8, NULL, WAIT_NS, &payload, &error), &error, "claim");
    }
    say_tally(is_holding ? "holding" : "done", &all, 0);
    end_line();
    wait_for_end();
    free(buffer);
    must(railbus_sender_close(sender, &error), &error, "close the sender");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
