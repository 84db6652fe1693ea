/* The journal's part of shim.h. */

#ifndef RAILBUS_GO_SHIM_JOURNAL_H
#define RAILBUS_GO_SHIM_JOURNAL_H

#include "shim.h"

/* The answer's value is the event's position, or RAILBUS_NONE. */
static inline railbus_go_answer railbus_go_publish_durable(railbus_sender *sender, const uint8_t *payload,
                                                           size_t payload_bytes, const railbus_attributes *attributes,
                                                           uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {RAILBUS_NONE, 0};
    answer.result =
        railbus_publish_durable(sender, payload, payload_bytes, attributes, timeout_ns, &answer.value, error);
    return answer;
}

static inline int32_t railbus_go_replay_open(const char *directory, size_t directory_bytes, uint32_t flags,
                                             uint32_t from_what, uint32_t to_what, uint64_t from, uint64_t to,
                                             const uint16_t *type_ids, size_t type_ids_count, double speed,
                                             double rate, railbus_replay **replay, railbus_error *error) {
    railbus_replay_options options = RAILBUS_REPLAY_OPTIONS_INIT;
    options.flags = flags;
    options.from_what = from_what;
    options.to_what = to_what;
    options.from = from;
    options.to = to;
    options.type_ids = type_ids;
    options.type_ids_count = type_ids_count;
    options.speed = speed;
    options.rate = rate;
    return railbus_replay_open(directory, directory_bytes, &options, replay, error);
}

static inline railbus_go_answer railbus_go_replay_batch(railbus_replay *replay, uint64_t *events,
                                                        uint64_t *recorded_ns, size_t events_max, uint64_t timeout_ns,
                                                        railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t count = 0;
    answer.result = railbus_replay_batch(replay, (railbus_event *)events, recorded_ns, events_max, timeout_ns, &count,
                                         error);
    answer.value = count;
    return answer;
}

#endif
