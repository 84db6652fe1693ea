/* The probes of tables. Each opens what it needs, and closes it. */
#include "common.h"

#include <string.h>

static railbus_error error;
static railbus_table_writer *writer;
static railbus_table_reader *reader;

/* Makes a table of the probe's name, with a writer and a reader. */
static railbus_channel *table(railbus_bus *bus, const char *name) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    options.kind = RAILBUS_TABLE;
    options.keys = 64;
    options.value_bytes = 64;
    must(railbus_channel_create(bus, name, RAILBUS_ZERO_TERMINATED, &options, &channel, &error), &error, "create");
    must(railbus_table_writer_open(channel, NULL, &writer, &error), &error, "open a writer");
    must(railbus_table_reader_open(channel, NULL, &reader, &error), &error, "open a reader");
    return channel;
}

static int32_t set(const char *key, size_t key_bytes, size_t value_bytes) {
    static const char value[65];
    return railbus_table_set(writer, key, key_bytes, value, value_bytes, NULL, &error);
}

static int32_t full(void) {
    int32_t result = RAILBUS_OK;
    for (char key = 0; key < 65; key++)
        result = set(&key, 1, 8);
    return result;
}

static int32_t of_stream(railbus_bus *bus, const char *name) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    options.kind = RAILBUS_STREAM;
    options.capacity_bytes = 4096;
    must(railbus_channel_create(bus, name, RAILBUS_ZERO_TERMINATED, &options, &channel, &error), &error, "create");
    int32_t result = railbus_table_reader_open(channel, NULL, &reader, &error);
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    return result;
}

/* The probe of this name, without the word table. */
static int32_t run(const char *probe, railbus_bus *bus, const char *name, railbus_channel *channel) {
    static const char bytes[65] = "key";
    railbus_value value;
    railbus_table_item item;
    size_t count;
    if (strcmp(probe, "table_absent") == 0)
        return railbus_table_get(reader, bytes, 3, &value, &error);
    if (strcmp(probe, "table_changed") == 0) {
        must(set(bytes, 3, 8), &error, "set");
        return railbus_table_compare_and_set(writer, bytes, 3, RAILBUS_NONE, bytes, 8, NULL, &error);
    }
    if (strcmp(probe, "table_full") == 0)
        return full();
    if (strcmp(probe, "table_value_long") == 0)
        return set(bytes, 3, 65);
    if (strcmp(probe, "table_key_empty") == 0)
        return set(bytes, 0, 8);
    if (strcmp(probe, "table_key_long") == 0)
        return set(bytes, 65, 8);
    if (strcmp(probe, "reader_of_table") == 0) {
        railbus_reader *other;
        return railbus_reader_open(channel, NULL, &other, &error);
    }
    if (strcmp(probe, "table_no_change") == 0)
        return railbus_table_changes(reader, 0, &item, 1, NULL, 0, &count, &error);
    if (strcmp(probe, "table_timed_out") == 0)
        return railbus_table_wait_change(reader, bytes, 3, RAILBUS_NONE, 20000000, &value, &error);
    if (strcmp(probe, "removed_table") == 0) {
        railbus_table_get(reader, bytes, 3, &value, &error);
        must(railbus_bus_remove(bus, name, RAILBUS_ZERO_TERMINATED, &error), &error, "remove");
        return railbus_table_wait_change(reader, bytes, 3, RAILBUS_NONE, WAIT_NS, &value, &error);
    }
    if (strcmp(probe, "closed_table") == 0) {
        must(railbus_table_reader_close(reader, &error), &error, "close the reader");
        return railbus_table_get(reader, bytes, 3, &value, &error);
    }
    return RAILBUS_OK;
}

int probe_table(const char *name, railbus_bus *bus, int32_t *result) {
    static const char *const known[] = {
        "table_absent",    "table_changed",   "table_full",      "table_value_long", "table_key_empty", "table_key_long",
        "table_of_stream", "reader_of_table", "table_no_change", "table_timed_out",  "removed_table",   "closed_table",
    };
    size_t k = 0;
    while (k < sizeof known / sizeof *known && strcmp(known[k], name) != 0)
        k++;
    if (k == sizeof known / sizeof *known)
        return 0;
    if (strcmp(name, "table_of_stream") == 0) {
        *result = of_stream(bus, name);
    } else {
        railbus_channel *channel = table(bus, name);
        *result = run(name, bus, name, channel);
        railbus_table_writer_close(writer, NULL);
        railbus_table_reader_close(reader, NULL);
        railbus_channel_close(channel, NULL);
    }
    railbus_bus_remove(bus, name, RAILBUS_ZERO_TERMINATED, NULL);
    return 1;
}
