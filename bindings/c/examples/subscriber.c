/*
 * Prints the events of a stream until its publisher leaves: subscriber BUS CHANNEL
 */
#include <railbus.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int32_t result, const railbus_error *error) {
    if (result != RAILBUS_OK) {
        fprintf(stderr, "subscriber: %s\n", error->message);
        exit(1);
    }
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: subscriber BUS CHANNEL\n");
        return 2;
    }
    railbus_error error;
    railbus_bus_options bus_options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *bus;
    check(railbus_bus_open(words[1], RAILBUS_ZERO_TERMINATED, &bus_options, &bus, &error), &error);

    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    options.kind = RAILBUS_STREAM;
    railbus_channel *channel;
    check(railbus_channel_create_or_attach(bus, words[2], RAILBUS_ZERO_TERMINATED, &options, &channel, &error), &error);

    railbus_reader_options reader_options = RAILBUS_READER_OPTIONS_INIT;
    reader_options.flags = RAILBUS_UNTIL_CLOSED;
    reader_options.name = "example";
    railbus_reader *reader;
    check(railbus_reader_open(channel, &reader_options, &reader, &error), &error);

    for (;;) {
        railbus_event event;
        int32_t result = railbus_receive(reader, RAILBUS_FOREVER, &event, &error);
        if (result == RAILBUS_CLOSED)
            break;
        check(result, &error);
        /* The payload lies in the ring, and may be read until the next call. */
        printf("%llu: %.*s\n", (unsigned long long)event.position, (int)event.payload_bytes,
               (const char *)event.payload);
    }
    check(railbus_reader_close(reader, &error), &error);
    check(railbus_channel_close(channel, &error), &error);
    check(railbus_bus_close(bus, &error), &error);
    return 0;
}
