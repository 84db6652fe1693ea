/* The role `churn`: nothing leaks. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static railbus_error error;

static int64_t descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    int64_t count = 0;
    if (directory == NULL)
        fail("IO", "cannot list /proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static int64_t resident_kib(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    if (status == NULL)
        fail("IO", "cannot read /proc/self/status");
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(status);
    return kib;
}

static void once(railbus_channel *channel, int is_queue, uint64_t events) {
    railbus_sender *sender;
    railbus_reader *reader = NULL;
    railbus_worker *worker = NULL;
    uint8_t payload[64];
    must(railbus_sender_open(channel, NULL, &sender, &error), &error, "open a sender");
    if (is_queue)
        must(railbus_worker_open(channel, NULL, &worker, &error), &error, "open a worker");
    else
        must(railbus_reader_open(channel, NULL, &reader, &error), &error, "open a reader");
    for (uint64_t i = 0; i < events; i++) {
        railbus_job job;
        fill_payload(payload, sizeof payload, i, 0);
        must(railbus_publish(sender, payload, sizeof payload, WAIT_NS, NULL, &error), &error, "publish");
        int32_t result = is_queue ? railbus_take(worker, WAIT_NS, &job, &error)
                                  : railbus_receive(reader, WAIT_NS, &job.event, &error);
        must(result, &error, "receive");
        if (memcmp(job.event.payload, payload, sizeof payload) != 0)
            fail("CORRUPT", "another event than was published");
        if (is_queue)
            must(railbus_done(worker, &job, 1, &error), &error, "done");
    }
    must(railbus_worker_close(worker, &error), &error, "close the worker");
    must(railbus_reader_close(reader, &error), &error, "close the reader");
    must(railbus_sender_close(sender, &error), &error, "close the sender");
}

int role_churn(void) {
    allow_keys(" bus channel opens events ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    railbus_channel_header header = RAILBUS_CHANNEL_HEADER_INIT;
    must(railbus_channel_describe(channel, &header, &error), &error, "describe");
    uint64_t opens = number("opens", 100), events = number("events", 0);
    int64_t descriptors_before = 0, resident_before = 0;
    printf("ready");
    end_line();
    for (uint64_t i = 0; i < opens; i++) {
        if (i == opens / 10) {
            descriptors_before = descriptors();
            resident_before = resident_kib();
        }
        once(channel, header.kind == RAILBUS_QUEUE, i + 1 == opens ? events : 0);
    }
    int64_t more_descriptors = descriptors() - descriptors_before, more_kib = resident_kib() - resident_before;
    printf("done descriptors=%lld rss_kib=%lld", (long long)(more_descriptors > 0 ? more_descriptors : 0),
           (long long)(more_kib > 0 ? more_kib : 0));
    end_line();
    wait_for_end();
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
