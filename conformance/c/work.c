/* The role `work`. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static railbus_worker *worker;
static railbus_error error;
static tally all;
static uint64_t taken, retried, refused, attempts, origins, origin_positions, slow_us;

/* Says whether the job is to be handed back; counts it as done otherwise. */
static int look(const railbus_job *job, uint64_t retry, int refuse, int with_attributes) {
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    must(railbus_event_attributes(&job->event, &attributes, &error), &error, "attributes");
    attempts = job->event.attempt > attempts ? job->event.attempt : attempts;
    int is_chosen = retry > 0 && taken % retry == 0 && job->event.attempt == 1;
    taken++;
    sleep_us(slow_us);
    if (refuse) {
        refused++;
        return 1;
    }
    if (is_chosen) {
        retried++;
        return 1;
    }
    count_event(&all, job->event.payload, job->event.payload_bytes, job->event.position,
                with_attributes ? &attributes : NULL);
    if (job->event.flags & RAILBUS_HAS_ORIGIN) {
        origins++;
        origin_positions += attributes.origin_position;
    }
    return 0;
}

static void hold(uint64_t events) {
    for (uint64_t i = 0; i < events; i++) {
        railbus_job job;
        must(railbus_take(worker, WAIT_NS, &job, &error), &error, "take");
        count_event(&all, job.event.payload, job.event.payload_bytes, job.event.position, NULL);
    }
    printf("holding events=%llu sum=%llu", (unsigned long long)all.events, (unsigned long long)all.sum);
    end_line();
}

static void work(uint64_t events, size_t batch) {
    uint64_t retry = number("retry", 0);
    int refuse = number("refuse", 0) != 0, with_attributes = number("attributes", 0) != 0;
    railbus_job *jobs = allocate(batch * sizeof *jobs), *done = allocate(batch * sizeof *done);
    while (all.events + refused < events) {
        uint64_t left = events - all.events - refused;
        size_t count = 1, done_count = 0;
        int32_t result = batch == 1
            ? railbus_take(worker, WAIT_NS, jobs, &error)
            : railbus_take_batch(worker, jobs, left < batch ? (size_t)left : batch, WAIT_NS, &count, &error);
        if (result == RAILBUS_CLOSED)
            break;
        must(result, &error, "take");
        for (size_t i = 0; i < count; i++) {
            if (look(&jobs[i], retry, refuse, with_attributes))
                must(railbus_retry(worker, &jobs[i], 1, &error), &error, "retry");
            else
                done[done_count++] = jobs[i];
        }
        must(railbus_done(worker, done, done_count, &error), &error, "done");
    }
    free(jobs);
    free(done);
    printf("done events=%llu sum=%llu retried=%llu attempts=%llu origins=%llu origin_positions=%llu",
           (unsigned long long)all.events, (unsigned long long)all.sum, (unsigned long long)(retried + refused),
           (unsigned long long)attempts, (unsigned long long)origins, (unsigned long long)origin_positions);
    end_line();
}

int role_work(void) {
    allow_keys(" bus channel events mode batch name until_closed slow_us attributes retry refuse hold ");
    railbus_bus *bus = open_bus();
    railbus_channel *channel = attach(bus);
    railbus_worker_options options = RAILBUS_WORKER_OPTIONS_INIT;
    options.name = argument("name", NULL);
    options.flags = number("until_closed", 0) ? RAILBUS_UNTIL_CLOSED : 0;
    must(railbus_worker_open(channel, &options, &worker, &error), &error, "open a worker");
    uint64_t events = number("events", 0);
    slow_us = number("slow_us", 0);
    int is_batch = strcmp(argument("mode", "take"), "batch") == 0;
    printf("ready");
    end_line();
    if (number("hold", 0))
        hold(events);
    else
        work(events, is_batch ? (size_t)number("batch", 16) : 1);
    wait_for_end();
    must(railbus_worker_close(worker, &error), &error, "close the worker");
    must(railbus_channel_close(channel, &error), &error, "close the channel");
    must(railbus_bus_close(bus, &error), &error, "close the bus");
    return 0;
}
