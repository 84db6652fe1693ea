/* See common.h. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int given_count;
static char **given;

void arguments(int count, char **values) {
    given_count = count;
    given = values;
}

const char *argument(const char *key, const char *otherwise) {
    size_t length = strlen(key);
    for (int i = 0; i < given_count; i++)
        if (strncmp(given[i], key, length) == 0 && given[i][length] == '=')
            return given[i] + length + 1;
    return otherwise;
}

uint64_t number(const char *key, uint64_t otherwise) {
    const char *text = argument(key, NULL);
    if (text == NULL)
        return otherwise;
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == 0 || *end != 0) {
        fprintf(stderr, "%s=%s is not a number\n", key, text);
        exit(2);
    }
    return value;
}

void allow_keys(const char *allowed) {
    for (int i = 0; i < given_count; i++) {
        const char *equals = strchr(given[i], '=');
        char key[64];
        int is_known = 0;
        if (equals != NULL && (size_t)(equals - given[i]) < sizeof key - 2) {
            snprintf(key, sizeof key, " %.*s ", (int)(equals - given[i]), given[i]);
            is_known = strstr(allowed, key) != NULL;
        }
        if (!is_known) {
            fprintf(stderr, "unknown argument %s\n", given[i]);
            exit(2);
        }
    }
}

const char *symbol(int32_t result) {
    static const struct {
        int32_t result;
        const char *name;
    } names[] = {
        {RAILBUS_OK, "OK"},
        {RAILBUS_EMPTY, "EMPTY"},
        {RAILBUS_FULL, "FULL"},
        {RAILBUS_TIMED_OUT, "TIMED_OUT"},
        {RAILBUS_DROPPED, "DROPPED"},
        {RAILBUS_DIVERTED, "DIVERTED"},
        {RAILBUS_LOST, "LOST"},
        {RAILBUS_CLOSED, "CLOSED"},
        {RAILBUS_PUBLISHED_BEFORE, "PUBLISHED_BEFORE"},
        {RAILBUS_END, "END"},
        {RAILBUS_ABSENT, "ABSENT"},
        {RAILBUS_CHANGED, "CHANGED"},
        {RAILBUS_INVALID, "INVALID"},
        {RAILBUS_NOT_FOUND, "NOT_FOUND"},
        {RAILBUS_EXISTS, "EXISTS"},
        {RAILBUS_NOT_ALLOWED, "NOT_ALLOWED"},
        {RAILBUS_LAYOUT, "LAYOUT"},
        {RAILBUS_CORRUPT, "CORRUPT"},
        {RAILBUS_NO_SPACE, "NO_SPACE"},
        {RAILBUS_NO_HUGE_PAGES, "NO_HUGE_PAGES"},
        {RAILBUS_BUSY, "BUSY"},
        {RAILBUS_PEER_GONE, "PEER_GONE"},
        {RAILBUS_FORKED, "FORKED"},
        {RAILBUS_IO, "IO"},
        {RAILBUS_EVICTED, "EVICTED"},
        {RAILBUS_TOO_LONG, "TOO_LONG"},
        {RAILBUS_NO_WORKER, "NO_WORKER"},
        {RAILBUS_CLOSED_HANDLE, "CLOSED_HANDLE"},
        {RAILBUS_WRONG_LENGTH, "WRONG_LENGTH"},
        {RAILBUS_NOT_HELD, "NOT_HELD"},
        {RAILBUS_CLAIM, "CLAIM"},
        {RAILBUS_WRONG_VERSION, "WRONG_VERSION"},
        {RAILBUS_REMOVED, "REMOVED"},
        {RAILBUS_NOT_SEQUENCED, "NOT_SEQUENCED"},
        {RAILBUS_PANIC, "PANIC"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].result == result)
            return names[i].name;
    return "UNKNOWN";
}

void fail(const char *name, const char *text) {
    printf("failed %s %s\n", name, text);
    fflush(stdout);
    exit(1);
}

void must(int32_t result, const railbus_error *error, const char *what) {
    if (result == RAILBUS_OK)
        return;
    char text[400];
    int is_told = error != NULL && error->code == result;
    snprintf(text, sizeof text, "%s: %s", what, is_told ? error->message : railbus_describe(result));
    fail(symbol(result), text);
}

static uint32_t crc(uint32_t before, const uint8_t *bytes, size_t count) {
    static uint32_t table[256];
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            table[i] = value;
        }
    uint32_t value = ~before;
    for (size_t i = 0; i < count; i++)
        value = table[(value ^ bytes[i]) & 255] ^ value >> 8;
    return ~value;
}

static void little_endian(uint8_t *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void count_event(tally *all, const uint8_t *payload, uint32_t bytes, uint64_t position,
                 const railbus_attributes *attributes) {
    uint8_t length[4], extra[35];
    little_endian(length, bytes, 4);
    uint32_t single = crc(crc(0, length, 4), payload, bytes);
    all->digest = crc(crc(all->digest, length, 4), payload, bytes);
    if (attributes != NULL) {
        little_endian(extra, attributes->type_id, 2);
        little_endian(extra + 2, attributes->published_ns, 8);
        memcpy(extra + 10, attributes->trace_id, 16);
        memcpy(extra + 26, attributes->span_id, 8);
        extra[34] = attributes->trace_flags;
        single = crc(single, extra, sizeof extra);
        all->digest = crc(all->digest, extra, sizeof extra);
    }
    all->sum += single;
    if (all->events == 0)
        all->first = position;
    all->last = position;
    all->events++;
}

void say_tally(const char *word, const tally *all, int with_lost) {
    printf("%s events=%llu first=%llu last=%llu digest=%lu sum=%llu", word, (unsigned long long)all->events,
           (unsigned long long)all->first, (unsigned long long)all->last, (unsigned long)all->digest,
           (unsigned long long)all->sum);
    if (with_lost)
        printf(" lost=%llu", (unsigned long long)all->lost);
}

void fill_payload(uint8_t *payload, size_t bytes, uint64_t event, uint64_t seed) {
    for (size_t j = 0; j < bytes; j++)
        payload[j] = (uint8_t)(131 * event + 7 * j + (j >> 8) + 17 * seed);
}

railbus_attributes attributes_of(uint64_t event) {
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    attributes.flags = RAILBUS_HAS_TIME | RAILBUS_HAS_TRACE;
    attributes.type_id = (uint16_t)event;
    attributes.published_ns = 1000000007 * event + 1;
    for (unsigned k = 0; k < 16; k++)
        attributes.trace_id[k] = (uint8_t)(event + k);
    for (unsigned k = 0; k < 8; k++)
        attributes.span_id[k] = (uint8_t)(event + 100 + k);
    attributes.trace_flags = event & 1;
    return attributes;
}

void end_line(void) {
    putchar('\n');
    fflush(stdout);
}

void wait_for_line(void) {
    int byte;
    while ((byte = getchar()) != EOF && byte != '\n')
        ;
}

void wait_for_end(void) {
    while (getchar() != EOF)
        ;
}

void sleep_us(uint64_t us) {
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    if (us > 0)
        nanosleep(&time, NULL);
}

railbus_bus *open_bus(void) {
    railbus_error error;
    railbus_bus *bus;
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    const char *name = argument("bus", "");
    must(railbus_bus_open(name, RAILBUS_ZERO_TERMINATED, &options, &bus, &error), &error, "open the bus");
    return bus;
}

railbus_channel *attach(railbus_bus *bus) {
    railbus_error error;
    railbus_channel *channel;
    const char *name = argument("channel", "");
    must(railbus_channel_attach(bus, name, RAILBUS_ZERO_TERMINATED, &channel, &error), &error, "attach");
    return channel;
}

uint64_t payload_max_of(railbus_channel *channel) {
    railbus_error error;
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    must(railbus_channel_describe(channel, &header, &error), &error, "describe");
    return header.payload_max;
}

void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    if (memory == NULL)
        fail("NO_SPACE", "no memory");
    return memory;
}
