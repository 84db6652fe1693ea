/* The roles `set` and `read`: a table's writer and its reader. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 1024
#define VALUE_MAX 1024
#define ZT RAILBUS_ZERO_TERMINATED

static railbus_error error;

/* Key i of the protocol, as functions take it. */
typedef struct key {
    uint64_t number;
    char text[32];
    const void *at;
    size_t bytes;
} key;

static const key *key_of(key *key, uint64_t i) {
    key->number = i;
    snprintf(key->text, sizeof key->text, "key-%llu", (unsigned long long)i);
    key->at = i % 2 == 0 ? (const void *)&key->number : key->text;
    key->bytes = i % 2 == 0 ? RAILBUS_NUMBER_KEY : strlen(key->text);
    return key;
}

static size_t size_of_event(uint64_t event) {
    const char *list = argument("sizes", "8");
    size_t sizes[16], count = 0;
    for (char *end; *list != 0 && count < 16; list = *end == ',' ? end + 1 : end)
        sizes[count++] = strtoul(list, &end, 10);
    return sizes[event % count];
}

static railbus_table_writer *writer;

static uint64_t set_one(const key *key, uint64_t event, int compares, uint64_t seen, uint64_t *refused) {
    uint8_t value[VALUE_MAX];
    size_t bytes = size_of_event(event);
    uint64_t version;
    fill_payload(value, bytes, event, 0);
    if (!compares) {
        must(railbus_table_set(writer, key->at, key->bytes, value, bytes, &version, &error), &error, "set");
        return version;
    }
    if (railbus_table_compare_and_set(writer, key->at, key->bytes, 1ULL << 40, value, bytes, NULL, &error) ==
        RAILBUS_CHANGED)
        ++*refused;
    must(railbus_table_compare_and_set(writer, key->at, key->bytes, seen, value, bytes, &version, &error), &error,
         "compare and set");
    return version;
}

int role_set(void) {
    allow_keys(" bus channel keys rounds sizes mode delete busy ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    must(railbus_table_writer_open(channel, NULL, &writer, &error), &error, "open a writer");
    uint64_t keys = number("keys", 0), rounds = number("rounds", 1), refused = 0, sum = 0;
    uint64_t delete = number("delete", 0), versions[KEYS_MAX];
    int compares = strcmp(argument("mode", "set"), "compare") == 0;
    key key;
    if (keys > KEYS_MAX)
        return 2;
    for (uint64_t i = 0; i < keys; i++)
        versions[i] = RAILBUS_NONE;
    printf("ready");
    end_line();
    for (uint64_t event = 0; event < rounds * keys; event++) {
        uint64_t *seen = &versions[event % keys];
        *seen = set_one(key_of(&key, event % keys), event, compares, *seen, &refused);
    }
    for (uint64_t i = 0; delete != 0 && i < keys; i += delete) {
        key_of(&key, i);
        must(railbus_table_delete(writer, key.at, key.bytes, NULL, &error), &error, "delete");
        versions[i] = RAILBUS_NONE;
    }
    must(railbus_table_set(writer, "end", ZT, NULL, 0, NULL, &error), &error, "set");
    for (uint64_t i = 0; i < keys; i++)
        sum += versions[i] == RAILBUS_NONE ? 0 : versions[i];
    printf("%s refused=%llu versions=%llu", number("busy", 0) ? "holding" : "done", (unsigned long long)refused,
           (unsigned long long)sum);
    end_line();
    for (uint64_t event = 0; number("busy", 0); event++) {
        uint8_t value[16];
        fill_payload(value, sizeof value, event, 0);
        must(railbus_table_set(writer, "busy", ZT, value, sizeof value, NULL, &error), &error, "set");
    }
    wait_for_end();
    must(railbus_table_writer_close(writer, &error), &error, "close the writer");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}

/* The keys that have a value, as far as the reader knows. */
static struct {
    railbus_table_item item;
    uint8_t value[VALUE_MAX];
} known[KEYS_MAX];
static size_t known_count;

static int is_named(const railbus_table_item *item, const char *name) {
    return item->key_bytes == strlen(name) && memcmp(item->key, name, item->key_bytes) == 0;
}

static void learn(const railbus_table_item *item, const uint8_t *value) {
    size_t i = 0;
    while (i < known_count &&
           (known[i].item.key_bytes != item->key_bytes || memcmp(known[i].item.key, item->key, 64) != 0))
        i++;
    if (i == KEYS_MAX)
        fail("NO_SPACE", "too many keys");
    known_count += i == known_count;
    known[i].item = *item;
    if (item->value_bytes != RAILBUS_NONE)
        memcpy(known[i].value, value, item->value_bytes);
}

static int has_ended(void) {
    for (size_t i = 0; i < known_count; i++)
        if (is_named(&known[i].item, "end"))
            return 1;
    return 0;
}

#define BATCH 8
static uint8_t values[BATCH][VALUE_MAX];

static void watch(railbus_table_reader *reader, railbus_bridge *bridge, int descriptor) {
    railbus_table_item items[BATCH];
    size_t count;
    for (;;) {
        uint64_t timeout_ns = bridge != NULL || has_ended() ? 0 : WAIT_NS;
        int32_t result =
            railbus_table_changes(reader, timeout_ns, items, BATCH, values, sizeof values[0], &count, &error);
        if (result == RAILBUS_EMPTY && has_ended())
            return;
        if (result == RAILBUS_EMPTY) {
            struct pollfd wanted = {descriptor, POLLIN, 0};
            must(railbus_bridge_arm_table(bridge, reader, &error), &error, "arm the bridge");
            if (poll(&wanted, 1, 20000) == 0)
                fail("TIMED_OUT", "the descriptor did not become readable");
            must(railbus_bridge_drain(bridge, &error), &error, "drain the bridge");
            continue;
        }
        must(result, &error, "changes");
        for (size_t i = 0; i < count; i++)
            learn(&items[i], values[i]);
    }
}

static void get_each(railbus_table_reader *reader, uint64_t keys) {
    for (uint64_t i = 0; i < keys; i++) {
        key key;
        railbus_value value;
        key_of(&key, i);
        int32_t result = railbus_table_get(reader, key.at, key.bytes, &value, &error);
        if (result == RAILBUS_ABSENT)
            continue;
        must(result, &error, "get");
        railbus_table_item item = {{0}, sizeof i, value.version, value.count};
        memcpy(item.key, &i, sizeof i);
        learn(&item, value.bytes);
    }
}

static void get_all(railbus_table_reader *reader) {
    railbus_table_item items[BATCH];
    size_t count;
    for (uint64_t next = 0; next != RAILBUS_NONE;) {
        must(railbus_table_get_all(reader, &next, items, BATCH, values, sizeof values[0], &count, &error), &error,
             "get all");
        for (size_t i = 0; i < count; i++)
            learn(&items[i], values[i]);
    }
}

int role_read(void) {
    allow_keys(" bus channel keys mode ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    railbus_table_reader *reader;
    railbus_bridge *bridge = NULL;
    railbus_value end;
    int descriptor = -1;
    const char *mode = argument("mode", "get");
    must(railbus_table_reader_open(channel, NULL, &reader, &error), &error, "open a reader");
    printf("ready");
    end_line();
    if (strcmp(mode, "bridge") == 0)
        must(railbus_bridge_open(channel, &bridge, &descriptor, &error), &error, "open a bridge");
    if (strcmp(mode, "get") == 0 || strcmp(mode, "all") == 0)
        must(railbus_table_wait_change(reader, "end", ZT, RAILBUS_NONE, WAIT_NS, &end, &error), &error, "wait");
    if (strcmp(mode, "get") == 0)
        get_each(reader, number("keys", 0));
    else if (strcmp(mode, "all") == 0)
        get_all(reader);
    else
        watch(reader, bridge, descriptor);
    tally all = {0};
    uint64_t versions = 0;
    for (size_t i = 0; i < known_count; i++) {
        const railbus_table_item *item = &known[i].item;
        if (item->value_bytes == RAILBUS_NONE || is_named(item, "end") || is_named(item, "busy"))
            continue;
        count_event(&all, known[i].value, (uint32_t)item->value_bytes, 0, NULL);
        versions += item->version;
    }
    printf("done present=%llu sum=%llu versions=%llu", (unsigned long long)all.events, (unsigned long long)all.sum,
           (unsigned long long)versions);
    end_line();
    wait_for_end();
    must(railbus_bridge_close(bridge, &error), &error, "close the bridge");
    must(railbus_table_reader_close(reader, &error), &error, "close the reader");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
