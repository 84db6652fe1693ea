/* The role `replay`. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

int role_replay(void) {
    railbus_replay_options options = RAILBUS_REPLAY_OPTIONS_INIT;
    railbus_attributes attributes = RAILBUS_ATTRIBUTES_INIT;
    railbus_replay *replay;
    railbus_error error;
    railbus_event *events;
    uint16_t type_ids[64];
    tally all = {0};
    allow_keys(" bus channel journal mode batch type_ids ");
    const char *mode = argument("mode", "next"), *list = argument("type_ids", "");
    size_t batch = strcmp(mode, "batch") == 0 ? (size_t)number("batch", 16) : 1;
    if (batch == 0 || (strcmp(mode, "batch") != 0 && strcmp(mode, "next") != 0))
        return 2;
    options.type_ids = type_ids;
    while (*list != '\0' && options.type_ids_count < 64) {
        char *end;
        type_ids[options.type_ids_count++] = (uint16_t)strtoul(list, &end, 10);
        list = *end == ',' ? end + 1 : end;
    }
    events = allocate(batch * sizeof *events);
    must(railbus_replay_open(argument("journal", ""), RAILBUS_ZERO_TERMINATED, &options, &replay, &error), &error,
         "open a replay");
    for (;;) {
        size_t count = 1;
        int32_t result = batch == 1 ? railbus_replay_next(replay, WAIT_NS, events, NULL, &error)
                                    : railbus_replay_batch(replay, events, NULL, batch, WAIT_NS, &count, &error);
        if (result == RAILBUS_END)
            break;
        if (result == RAILBUS_LOST) {
            all.lost += error.lost_events;
            continue;
        }
        must(result, &error, "replay");
        for (size_t i = 0; i < count; i++) {
            must(railbus_event_attributes(&events[i], &attributes, &error), &error, "attributes");
            count_event(&all, events[i].payload, events[i].payload_bytes, events[i].position, &attributes);
        }
    }
    say_tally("done", &all, 1);
    end_line();
    wait_for_end();
    free(events);
    must(railbus_replay_close(replay, &error), &error, "close the replay");
    return 0;
}
