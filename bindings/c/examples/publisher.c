/*
 * Publishes lines to a stream: publisher BUS CHANNEL COUNT
 *
 * Start the subscriber first, or it misses what was published before it came.
 */
#include <railbus.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int32_t result, const railbus_error *error) {
    if (result != RAILBUS_OK) {
        fprintf(stderr, "publisher: %s\n", error->message);
        exit(1);
    }
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: publisher BUS CHANNEL COUNT\n");
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

    railbus_sender *publisher;
    check(railbus_sender_open(channel, NULL, &publisher, &error), &error);
    /* Wait for somebody to listen, so that nothing is published to nobody. */
    size_t readers = 0;
    while (readers == 0)
        check(railbus_sender_readers(publisher, &readers, &error), &error);

    for (int i = 0; i < atoi(words[3]); i++) {
        /* Written in place: nothing is copied. */
        void *payload;
        check(railbus_claim(publisher, 64, NULL, RAILBUS_FOREVER, &payload, &error), &error);
        int bytes = snprintf(payload, 64, "event number %d", i);
        check(railbus_commit(publisher, (size_t)bytes, NULL, &error), &error);
    }
    check(railbus_sender_close(publisher, &error), &error);
    check(railbus_channel_close(channel, &error), &error);
    check(railbus_bus_close(bus, &error), &error);
    return 0;
}
