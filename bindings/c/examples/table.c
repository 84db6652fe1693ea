/*
 * Sets the value of a key and shows what is in the table: table BUS CHANNEL [KEY VALUE]
 *
 * Without a key it shows every key, also those that were set before it started.
 */
#include <railbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES 64

static void check(int32_t result, const railbus_error *error) {
    if (result != RAILBUS_OK) {
        fprintf(stderr, "table: %s\n", error->message);
        exit(1);
    }
}

int main(int count, char **words) {
    if (count != 3 && count != 5) {
        fprintf(stderr, "usage: table BUS CHANNEL [KEY VALUE]\n");
        return 2;
    }
    railbus_error error;
    railbus_bus_options bus_options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *bus;
    check(railbus_bus_open(words[1], RAILBUS_ZERO_TERMINATED, &bus_options, &bus, &error), &error);

    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    options.kind = RAILBUS_TABLE;
    options.value_bytes = VALUE_BYTES;
    railbus_channel *state;
    check(railbus_channel_create_or_attach(bus, words[2], RAILBUS_ZERO_TERMINATED, &options, &state, &error), &error);

    if (count == 5) {
        railbus_table_writer *writer;
        check(railbus_table_writer_open(state, NULL, &writer, &error), &error);
        /* Were this process killed in here, readers would find the old value or the new one, whole. */
        check(railbus_table_set(writer, words[3], RAILBUS_ZERO_TERMINATED, words[4], strlen(words[4]), NULL, &error),
              &error);
        check(railbus_table_writer_close(writer, &error), &error);
    }

    railbus_table_reader *reader;
    check(railbus_table_reader_open(state, NULL, &reader, &error), &error);
    for (uint64_t next = 0; next != RAILBUS_NONE;) {
        railbus_table_item items[16];
        char values[16][VALUE_BYTES];
        size_t found;
        check(railbus_table_get_all(reader, &next, items, 16, values, sizeof values[0], &found, &error), &error);
        for (size_t i = 0; i < found; i++)
            printf("%.*s = %.*s, version %llu\n", (int)items[i].key_bytes, (const char *)items[i].key,
                   (int)items[i].value_bytes, values[i], (unsigned long long)items[i].version);
    }
    check(railbus_table_reader_close(reader, &error), &error);
    check(railbus_channel_close(state, &error), &error);
    check(railbus_bus_close(bus, &error), &error);
    return 0;
}
