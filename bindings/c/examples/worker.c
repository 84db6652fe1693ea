/*
 * Works on a queue until all is done: worker BUS CHANNEL [JOB...]
 *
 * With jobs, it puts them into the queue first. A job that begins with "bad" fails, is handed back, and becomes a dead letter
 * after two attempts.
 */
#include <railbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int32_t result, const railbus_error *error) {
    if (result != RAILBUS_OK) {
        fprintf(stderr, "worker: %s\n", error->message);
        exit(1);
    }
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: worker BUS CHANNEL [JOB...]\n");
        return 2;
    }
    railbus_error error;
    railbus_bus_options bus_options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *bus;
    check(railbus_bus_open(words[1], RAILBUS_ZERO_TERMINATED, &bus_options, &bus, &error), &error);

    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    options.kind = RAILBUS_QUEUE;
    options.max_attempts = 2;
    railbus_channel *queue;
    check(railbus_channel_create_or_attach(bus, words[2], RAILBUS_ZERO_TERMINATED, &options, &queue, &error), &error);

    railbus_sender *producer;
    check(railbus_sender_open(queue, NULL, &producer, &error), &error);
    for (int i = 3; i < count; i++)
        check(railbus_publish(producer, words[i], strlen(words[i]), RAILBUS_FOREVER, NULL, &error), &error);
    check(railbus_sender_close(producer, &error), &error);

    railbus_worker_options worker_options = RAILBUS_WORKER_OPTIONS_INIT;
    worker_options.flags = RAILBUS_UNTIL_CLOSED;
    railbus_worker *worker;
    check(railbus_worker_open(queue, &worker_options, &worker, &error), &error);
    for (;;) {
        railbus_job job;
        int32_t result = railbus_take(worker, RAILBUS_FOREVER, &job, &error);
        if (result == RAILBUS_CLOSED)
            break;
        check(result, &error);
        int is_bad = job.event.payload_bytes >= 3 && memcmp(job.event.payload, "bad", 3) == 0;
        printf("%s %.*s (attempt %u)\n", is_bad ? "failed" : "done", (int)job.event.payload_bytes,
               (const char *)job.event.payload, (unsigned)job.event.attempt);
        /* Were this process killed here, another worker would get the job. */
        check((is_bad ? railbus_retry : railbus_done)(worker, &job, 1, &error), &error);
    }
    check(railbus_worker_close(worker, &error), &error);
    check(railbus_channel_close(queue, &error), &error);
    check(railbus_bus_close(bus, &error), &error);
    return 0;
}
