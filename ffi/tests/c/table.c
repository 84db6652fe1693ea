/*
 * Tables: every function, every result, and what the arguments may not be. Prints how many facts were
 * checked. The bus is in $RAILBUS_DIR.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <railbus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ZT RAILBUS_ZERO_TERMINATED
#define LONG (20ULL * 1000 * 1000 * 1000)

static railbus_error error;
static railbus_bus *bus;
static unsigned checks;

static void expect(int32_t found, int32_t expected, const char *what, int line) {
    checks++;
    if (found == expected)
        return;
    fprintf(stderr, "table.c:%d: %s answers %d (%s: %s), not %d\n", line, what, (int)found, railbus_describe(found),
            found == RAILBUS_OK ? "" : error.message, (int)expected);
    exit(1);
}

static void check(int fact, const char *what, int line) {
    checks++;
    if (fact)
        return;
    fprintf(stderr, "table.c:%d: not so: %s\n", line, what);
    exit(1);
}

#define EXPECT(expected, call) expect(call, expected, #call, __LINE__)
#define OK(call) EXPECT(RAILBUS_OK, call)
#define CHECK(fact) check(fact, #fact, __LINE__)

static railbus_channel *table_of(const char *name, uint64_t keys, uint64_t value_bytes) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    options.kind = RAILBUS_TABLE;
    options.keys = keys;
    options.value_bytes = value_bytes;
    OK(railbus_channel_create(bus, name, ZT, &options, &channel, &error));
    return channel;
}

static void values_have_versions(void) {
    railbus_channel *channel = table_of("values", 4, 16);
    railbus_channel_header header = {.struct_size = sizeof header};
    railbus_table_writer *writer;
    railbus_table_reader *reader;
    railbus_value value;
    uint64_t version, number = 7;
    size_t keys;
    OK(railbus_channel_describe(channel, &header, &error));
    CHECK(header.kind == RAILBUS_TABLE && header.keys == 4 && header.value_bytes == 16 && header.payload_max == 16);
    OK(railbus_table_writer_open(channel, NULL, &writer, &error));
    OK(railbus_table_reader_open(channel, NULL, &reader, &error));

    EXPECT(RAILBUS_ABSENT, railbus_table_get(reader, "bid", 3, &value, &error));
    CHECK(value.bytes == NULL && value.count == 0 && value.version == RAILBUS_NONE);
    OK(railbus_table_set(writer, "bid", 3, "42", 2, &version, &error));
    CHECK(version == 1);
    OK(railbus_table_get(reader, "bid", ZT, &value, &error));
    CHECK(value.count == 2 && memcmp(value.bytes, "42", 2) == 0 && value.version == 1);

    /* A number and its bytes are different keys. */
    OK(railbus_table_set(writer, &number, RAILBUS_NUMBER_KEY, NULL, 0, NULL, &error));
    EXPECT(RAILBUS_ABSENT, railbus_table_get(reader, &number, sizeof number, &value, &error));
    OK(railbus_table_get(reader, &number, RAILBUS_NUMBER_KEY, &value, &error));
    CHECK(value.count == 0 && value.version == 1);

    EXPECT(RAILBUS_CHANGED, railbus_table_compare_and_set(writer, "bid", 3, RAILBUS_NONE, "x", 1, &version, &error));
    CHECK(version == 1 && strstr(error.message, "version 1"));
    OK(railbus_table_compare_and_set(writer, "bid", 3, 1, "43", 2, &version, &error));
    CHECK(version == 2);
    EXPECT(RAILBUS_CHANGED, railbus_table_compare_and_delete(writer, "bid", 3, 1, &version, &error));
    CHECK(version == 2);
    OK(railbus_table_compare_and_delete(writer, "bid", 3, 2, &version, &error));
    CHECK(version == 3);
    EXPECT(RAILBUS_ABSENT, railbus_table_delete(writer, "bid", 3, &version, &error));
    CHECK(version == RAILBUS_NONE);
    OK(railbus_table_compare_and_set(writer, "bid", 3, RAILBUS_NONE, "44", 2, &version, &error));
    CHECK(version == 4);
    OK(railbus_table_delete(writer, "bid", 3, NULL, &error));
    OK(railbus_table_count(reader, &keys, &error));
    CHECK(keys == 1);

    EXPECT(RAILBUS_TOO_LONG, railbus_table_set(writer, "bid", 3, "12345678901234567", 17, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_set(writer, "", 0, "x", 1, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_set(writer, NULL, 3, "x", 1, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_set(writer, error.message, 65, "x", 1, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_set(writer, "bid", 3, NULL, 1, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_get(reader, "bid", 3, NULL, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_count(reader, NULL, &error));
    for (char key = 'a'; key < 'd'; key++)
        OK(railbus_table_set(writer, &key, 1, "x", 1, NULL, &error));
    EXPECT(RAILBUS_NO_SPACE, railbus_table_set(writer, "z", 1, "x", 1, NULL, &error));
    CHECK(strstr(error.message, "--keys") != NULL);

    OK(railbus_table_writer_close(writer, &error));
    EXPECT(RAILBUS_CLOSED_HANDLE, railbus_table_set(writer, "a", 1, "x", 1, NULL, &error));
    EXPECT(RAILBUS_CLOSED_HANDLE, railbus_table_get((railbus_table_reader *)writer, "a", 1, &value, &error));
    OK(railbus_table_reader_close(reader, &error));
    OK(railbus_table_reader_close(NULL, &error));
    OK(railbus_channel_close(channel, &error));
}

static void all_keys_come_in_parts(void) {
    railbus_channel *channel = table_of("parts", 100, 8);
    railbus_table_writer *writer;
    railbus_table_reader *reader;
    railbus_table_item items[7];
    uint64_t values[7], next = 0, seen = 0;
    size_t count;
    OK(railbus_table_writer_open(channel, NULL, &writer, &error));
    OK(railbus_table_reader_open(channel, NULL, &reader, &error));
    for (uint64_t key = 0; key < 50; key++) {
        uint64_t value = key * key;
        OK(railbus_table_set(writer, &key, RAILBUS_NUMBER_KEY, &value, sizeof value, NULL, &error));
    }
    while (next != RAILBUS_NONE) {
        OK(railbus_table_get_all(reader, &next, items, 7, values, sizeof values[0], &count, &error));
        for (size_t i = 0; i < count; i++) {
            uint64_t key;
            memcpy(&key, items[i].key, sizeof key);
            CHECK(items[i].key_bytes == RAILBUS_NUMBER_KEY && items[i].value_bytes == 8 && items[i].version == 1);
            CHECK(key < 50 && values[i] == key * key && !(seen >> key & 1));
            seen |= 1ULL << key;
        }
    }
    CHECK(seen == (1ULL << 50) - 1);
    OK(railbus_table_get_all(reader, &next, items, 7, values, sizeof values[0], &count, &error));
    CHECK(count == 0);
    next = 0;
    EXPECT(RAILBUS_INVALID, railbus_table_get_all(reader, &next, items, 7, values, 7, &count, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_get_all(reader, &next, items, 0, values, 8, &count, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_get_all(reader, NULL, items, 7, values, 8, &count, &error));
    OK(railbus_table_get_all(reader, &next, items, 7, NULL, 0, &count, &error));
    CHECK(count == 7);
    OK(railbus_table_writer_close(writer, &error));
    OK(railbus_table_reader_close(reader, &error));
    OK(railbus_channel_close(channel, &error));
}

static void changes_are_conflated_and_wake(void) {
    railbus_channel *channel = table_of("changes", 8, 8);
    railbus_table_options options = RAILBUS_TABLE_OPTIONS_INIT;
    railbus_table_writer *writer;
    railbus_table_reader *reader;
    railbus_table_item items[4];
    railbus_value value;
    railbus_bridge *bridge;
    char values[4][8];
    size_t count;
    int descriptor;
    options.name = "screen";
    OK(railbus_table_writer_open(channel, NULL, &writer, &error));
    OK(railbus_table_reader_open(channel, &options, &reader, &error));
    EXPECT(RAILBUS_EMPTY, railbus_table_changes(reader, 0, items, 4, values, 8, &count, &error));
    EXPECT(RAILBUS_TIMED_OUT, railbus_table_changes(reader, 1000000, items, 4, values, 8, &count, &error));
    CHECK(count == 0);
    OK(railbus_table_set(writer, "a", 1, "1", 1, NULL, &error));
    OK(railbus_table_set(writer, "b", 1, "1", 1, NULL, &error));
    OK(railbus_table_set(writer, "a", 1, "2", 1, NULL, &error));
    OK(railbus_table_changes(reader, LONG, items, 4, values, 8, &count, &error));
    CHECK(count == 2);
    size_t a = items[0].key[0] == 'a' ? 0 : 1;
    CHECK(items[a].version == 2 && values[a][0] == '2' && items[1 - a].version == 1);
    OK(railbus_table_delete(writer, "b", 1, NULL, &error));
    OK(railbus_table_changes(reader, 0, items, 4, values, 8, &count, &error));
    CHECK(count == 1 && items[0].value_bytes == RAILBUS_NONE && items[0].key[0] == 'b' && items[0].version == 2);

    OK(railbus_table_wait_change(reader, "a", 1, 1, 0, &value, &error));
    CHECK(value.version == 2);
    EXPECT(RAILBUS_TIMED_OUT, railbus_table_wait_change(reader, "a", 1, 2, 0, &value, &error));
    EXPECT(RAILBUS_ABSENT, railbus_table_wait_change(reader, "b", 1, 1, LONG, &value, &error));

    OK(railbus_bridge_open(channel, &bridge, &descriptor, &error));
    EXPECT(RAILBUS_EMPTY, railbus_table_changes(reader, 0, items, 4, values, 8, &count, &error));
    OK(railbus_bridge_arm_table(bridge, reader, &error));
    OK(railbus_table_set(writer, "a", 1, "3", 1, NULL, &error));
    struct pollfd ready = {descriptor, POLLIN, 0};
    CHECK(poll(&ready, 1, 20000) == 1);
    OK(railbus_bridge_drain(bridge, &error));
    OK(railbus_table_changes(reader, 0, items, 4, values, 8, &count, &error));
    CHECK(count == 1 && items[0].version == 3);
    OK(railbus_bridge_close(bridge, &error));
    OK(railbus_table_writer_close(writer, &error));
    OK(railbus_table_reader_close(reader, &error));
    EXPECT(RAILBUS_CLOSED_HANDLE, railbus_bridge_arm_table(bridge, reader, &error));
    OK(railbus_channel_close(channel, &error));
}

static void other_kinds_and_processes_are_refused(void) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    /* Static: a leak check in the child finds them. */
    static railbus_channel *stream, *channel;
    static railbus_table_writer *writer;
    static railbus_table_reader *reader;
    railbus_sender *sender;
    railbus_reader *events;
    railbus_value value;
    channel = table_of("kinds", 8, 8);
    options.kind = RAILBUS_STREAM;
    OK(railbus_channel_create(bus, "stream", ZT, &options, &stream, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_writer_open(stream, NULL, &writer, &error));
    EXPECT(RAILBUS_INVALID, railbus_table_reader_open(stream, NULL, &reader, &error));
    EXPECT(RAILBUS_INVALID, railbus_sender_open(channel, NULL, &sender, &error));
    EXPECT(RAILBUS_INVALID, railbus_reader_open(channel, NULL, &events, &error));
    OK(railbus_channel_close(stream, &error));
    options.keys = 8;
    EXPECT(RAILBUS_INVALID, railbus_channel_create(bus, "stream2", ZT, &options, &stream, &error));
    OK(railbus_table_writer_open(channel, NULL, &writer, &error));
    OK(railbus_table_reader_open(channel, NULL, &reader, &error));
    OK(railbus_table_set(writer, "a", 1, "1", 1, NULL, &error));
    pid_t child = fork();
    if (child == 0) {
        EXPECT(RAILBUS_FORKED, railbus_table_set(writer, "a", 1, "2", 1, NULL, &error));
        EXPECT(RAILBUS_FORKED, railbus_table_get(reader, "a", 1, &value, &error));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(railbus_table_get(reader, "a", 1, &value, &error));
    CHECK(value.version == 1);
    OK(railbus_bus_remove(bus, "kinds", ZT, &error));
    EXPECT(RAILBUS_REMOVED, railbus_table_wait_change(reader, "a", 1, 1, LONG, &value, &error));
    OK(railbus_table_writer_close(writer, &error));
    OK(railbus_table_reader_close(reader, &error));
    OK(railbus_channel_close(channel, &error));
}

int main(void) {
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    OK(railbus_bus_open("tables", ZT, &options, &bus, &error));
    values_have_versions();
    all_keys_come_in_parts();
    changes_are_conflated_and_wake();
    other_kinds_and_processes_are_refused();
    OK(railbus_bus_close(bus, &error));
    printf("%u checks\n", checks);
    return 0;
}
