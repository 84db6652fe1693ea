/*
 * Channels that are made with their journal, or with one that was set aside; and the end of a program whose
 * channel's file is truncated. Called as `birth DIRECTORY`: the journals go there, the bus to $RAILBUS_DIR.
 */
#define _POSIX_C_SOURCE 200809L

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
static const char *journals;
static railbus_bus *bus;

static void expect(int32_t found, int32_t expected, const char *what, int line) {
    if (found == expected)
        return;
    fprintf(stderr, "birth.c:%d: %s answers %d (%s: %s), not %d\n", line, what, (int)found, railbus_describe(found),
            found == RAILBUS_OK ? "" : error.message, (int)expected);
    exit(1);
}

static void check(int fact, const char *what, int line) {
    if (fact)
        return;
    fprintf(stderr, "birth.c:%d: not so: %s\n", line, what);
    exit(1);
}

#define EXPECT(expected, call) expect(call, expected, #call, __LINE__)
#define OK(call) EXPECT(RAILBUS_OK, call)
#define CHECK(fact) check(fact, #fact, __LINE__)

static railbus_recorder *record(railbus_channel *channel) {
    railbus_recorder_options options = RAILBUS_RECORDER_OPTIONS_INIT;
    railbus_recorder *recorder;
    options.segment_bytes = 1u << 20;
    options.staging_bytes = 1u << 20;
    OK(railbus_recorder_start(channel, journals, ZT, &options, &recorder, &error));
    return recorder;
}

static void publish(railbus_channel *channel, unsigned events) {
    railbus_sender *sender;
    OK(railbus_sender_open(channel, NULL, &sender, &error));
    for (unsigned i = 0; i < events; i++)
        OK(railbus_publish(sender, &i, sizeof i, 0, NULL, &error));
    OK(railbus_sender_close(sender, &error));
}

/* The number of events in the journal of a channel; none is missing among them. */
static unsigned recorded(const char *name) {
    char path[4096];
    railbus_replay_options options = RAILBUS_REPLAY_OPTIONS_INIT;
    railbus_replay *replay;
    railbus_event event;
    unsigned events = 0;
    snprintf(path, sizeof path, "%s/birth/%s", journals, name);
    OK(railbus_replay_open(path, ZT, &options, &replay, &error));
    while (railbus_replay_next(replay, 0, &event, NULL, &error) == RAILBUS_OK) {
        CHECK(memcmp(event.payload, &events, sizeof events) == 0);
        events++;
    }
    OK(railbus_replay_close(replay, &error));
    return events;
}

static void a_journaled_channel_is_recorded_from_its_first_event(void) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    railbus_recorder *recorder;
    options.kind = RAILBUS_STREAM;
    options.flags = RAILBUS_JOURNALED;
    options.overflow = RAILBUS_OVERFLOW_LOSSY_READERS;
    EXPECT(RAILBUS_INVALID, railbus_channel_create(bus, "born", ZT, &options, &channel, &error));
    options.overflow = 0;
    OK(railbus_channel_create(bus, "born", ZT, &options, &channel, &error));
    publish(channel, 100);
    recorder = record(channel);
    OK(railbus_recorder_stop(recorder, &error));
    CHECK(recorded("born") == 100);
    OK(railbus_channel_close(channel, &error));
    OK(railbus_bus_remove(bus, "born", ZT, &error));
}

static void a_journal_that_was_set_aside_is_adopted(void) {
    char path[4096], aside[4096];
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel_info info = {.struct_size = sizeof info};
    railbus_channel *channel, *again;
    options.kind = RAILBUS_QUEUE;
    options.flags = RAILBUS_JOURNALED;
    OK(railbus_channel_create(bus, "jobs", ZT, &options, &channel, &error));
    publish(channel, 3);
    OK(railbus_recorder_stop(record(channel), &error));
    snprintf(path, sizeof path, "%s/birth/jobs", journals);
    snprintf(aside, sizeof aside, "%s/birth/jobs~1f3a9c02", journals);
    CHECK(rename(path, aside) == 0);
    options = (railbus_channel_options)RAILBUS_CHANNEL_OPTIONS_INIT;
    options.adopt = aside;
    EXPECT(RAILBUS_BUSY, railbus_channel_create(bus, "jobs", ZT, &options, &again, &error));
    OK(railbus_channel_close(channel, &error));
    OK(railbus_bus_remove(bus, "jobs", ZT, &error));
    EXPECT(RAILBUS_INVALID, railbus_channel_create(bus, "other", ZT, &options, &again, &error));
    EXPECT(RAILBUS_INVALID, railbus_channel_create_or_attach(bus, "jobs", ZT, &options, &again, &error));
    OK(railbus_channel_create(bus, "jobs", ZT, &options, &again, &error));
    OK(railbus_channel_inspect(again, &info, NULL, 0, NULL, &error));
    CHECK(info.unfinished == 3);
    OK(railbus_channel_close(again, &error));
    options.adopt = "/gone/birth/gone~1";
    EXPECT(RAILBUS_NOT_FOUND, railbus_channel_create(bus, "gone", ZT, &options, &again, &error));
}

/* How a process ends that publishes to a channel whose file is truncated. */
static int ends(int is_told) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    int status = 0;
    pid_t child;
    options.kind = RAILBUS_TOPIC;
    OK(railbus_channel_create(bus, "cut", ZT, &options, &channel, &error));
    OK(railbus_channel_close(channel, &error));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char path[4096];
        railbus_bus_options told = RAILBUS_BUS_OPTIONS_INIT;
        railbus_bus *again;
        railbus_sender *sender;
        signal(SIGBUS, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        told.truncated_exit_code = is_told ? 77 : 0;
        OK(railbus_bus_open("birth", ZT, &told, &again, &error));
        OK(railbus_channel_attach(again, "cut", ZT, &channel, &error));
        OK(railbus_sender_open(channel, NULL, &sender, &error));
        snprintf(path, sizeof path, "%s/birth/cut.ring", getenv("RAILBUS_DIR"));
        if (truncate(path, 0) != 0)
            _exit(1);
        railbus_publish(sender, "x", 1, 0, NULL, &error);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    OK(railbus_bus_remove(bus, "cut", ZT, &error));
    return status;
}

static void a_truncated_file_ends_the_process_as_it_was_told(void) {
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *again;
    int status = ends(1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
    /* The library installs no handler by itself. */
    status = ends(0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    options.truncated_exit_code = 256;
    EXPECT(RAILBUS_INVALID, railbus_bus_open("birth", ZT, &options, &again, &error));
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    journals = arguments[1];
    OK(railbus_bus_open("birth", ZT, NULL, &bus, &error));
    a_journaled_channel_is_recorded_from_its_first_event();
    a_journal_that_was_set_aside_is_adopted();
    a_truncated_file_ends_the_process_as_it_was_told();
    OK(railbus_bus_close(bus, &error));
    puts("born, adopted and cut short");
    return 0;
}
