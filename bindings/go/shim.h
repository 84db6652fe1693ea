/*
 * The layer between Go and railbus.h.
 *
 * Arguments that point to Go memory have types without pointers in them here, so that cgo has nothing to search at
 * each call. Structs of pointers are put together on C's side, so that no Go pointer is ever stored in memory that
 * is passed. An event is three words, a job four: the Go types have the same layout, which event.go asserts.
 */

#ifndef RAILBUS_GO_SHIM_H
#define RAILBUS_GO_SHIM_H

#include <stdlib.h>

#include "railbus.h"

/* A result, and the position or the number of events that goes with it. */
typedef struct railbus_go_answer {
    uint64_t value;
    int32_t result;
} railbus_go_answer;

static inline railbus_go_answer railbus_go_publish(railbus_sender *sender, const uint8_t *payload, size_t payload_bytes,
                                                   uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    answer.result = railbus_publish(sender, payload, payload_bytes, timeout_ns, &answer.value, error);
    return answer;
}

static inline railbus_go_answer railbus_go_publish_with(railbus_sender *sender, const uint8_t *payload,
                                                        size_t payload_bytes, const railbus_attributes *attributes,
                                                        uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    answer.result =
        railbus_publish_with(sender, payload, payload_bytes, attributes, timeout_ns, &answer.value, error);
    return answer;
}

static inline railbus_go_answer railbus_go_publish_numbered(railbus_sender *sender, uint64_t number,
                                                            const uint8_t *payload, size_t payload_bytes,
                                                            const railbus_attributes *attributes,
                                                            uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    answer.result = railbus_publish_numbered(sender, number, payload, payload_bytes, attributes, timeout_ns,
                                             &answer.value, error);
    return answer;
}

static inline railbus_go_answer railbus_go_publish_batch(railbus_sender *sender, const uint64_t *payloads,
                                                         size_t count, uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t published = 0;
    answer.result = railbus_publish_batch(sender, (const railbus_bytes *)payloads, count, timeout_ns, &published,
                                          error);
    answer.value = published;
    return answer;
}

static inline railbus_go_answer railbus_go_publish_strided(railbus_sender *sender, const uint8_t *payloads,
                                                           size_t stride_bytes, const uint32_t *lengths, size_t count,
                                                           uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t published = 0;
    answer.result =
        railbus_publish_strided(sender, payloads, stride_bytes, lengths, count, timeout_ns, &published, error);
    answer.value = published;
    return answer;
}

/* The answer's value is the address at which the payload is to be written. */
static inline railbus_go_answer railbus_go_claim(railbus_sender *sender, size_t payload_bytes,
                                                 const railbus_attributes *attributes, uint64_t timeout_ns,
                                                 railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    void *payload = NULL;
    answer.result = railbus_claim(sender, payload_bytes, attributes, timeout_ns, &payload, error);
    answer.value = (uint64_t)(uintptr_t)payload;
    return answer;
}

static inline railbus_go_answer railbus_go_commit(railbus_sender *sender, size_t payload_bytes, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    answer.result = railbus_commit(sender, payload_bytes, &answer.value, error);
    return answer;
}

static inline int32_t railbus_go_receive(railbus_reader *reader, uint64_t timeout_ns, uint64_t *event,
                                         railbus_error *error) {
    return railbus_receive(reader, timeout_ns, (railbus_event *)event, error);
}

static inline railbus_go_answer railbus_go_receive_batch(railbus_reader *reader, uint64_t *events, size_t events_max,
                                                         uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t count = 0;
    answer.result =
        railbus_receive_batch(reader, (railbus_event *)events, events_max, timeout_ns, &count, error);
    answer.value = count;
    return answer;
}

static inline railbus_go_answer railbus_go_receive_into(railbus_reader *reader, uint8_t *payloads, size_t stride_bytes,
                                                        size_t events_max, uint32_t *lengths, uint64_t *positions,
                                                        uint16_t *type_ids, uint64_t *published_ns,
                                                        uint64_t timeout_ns, railbus_error *error) {
    railbus_strided to = RAILBUS_STRIDED_INIT;
    railbus_go_answer answer = {0, 0};
    size_t count = 0;
    to.payloads = payloads;
    to.stride_bytes = stride_bytes;
    to.events_max = events_max;
    to.lengths = lengths;
    to.positions = positions;
    to.type_ids = type_ids;
    to.published_ns = published_ns;
    answer.result = railbus_receive_into(reader, &to, timeout_ns, &count, error);
    answer.value = count;
    return answer;
}

static inline int32_t railbus_go_event_attributes(const uint64_t *event, railbus_attributes *attributes) {
    attributes->struct_size = sizeof *attributes;
    return railbus_event_attributes((const railbus_event *)event, attributes, NULL);
}

static inline int32_t railbus_go_take(railbus_worker *worker, uint64_t timeout_ns, uint64_t *job,
                                      railbus_error *error) {
    return railbus_take(worker, timeout_ns, (railbus_job *)job, error);
}

static inline railbus_go_answer railbus_go_take_batch(railbus_worker *worker, uint64_t *jobs, size_t jobs_max,
                                                      uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t count = 0;
    answer.result = railbus_take_batch(worker, (railbus_job *)jobs, jobs_max, timeout_ns, &count, error);
    answer.value = count;
    return answer;
}

static inline int32_t railbus_go_done(railbus_worker *worker, const uint64_t *jobs, size_t count,
                                      railbus_error *error) {
    return railbus_done(worker, (const railbus_job *)jobs, count, error);
}

static inline int32_t railbus_go_retry(railbus_worker *worker, const uint64_t *jobs, size_t count,
                                       railbus_error *error) {
    return railbus_retry(worker, (const railbus_job *)jobs, count, error);
}

static inline int32_t railbus_go_replay_next(railbus_replay *replay, uint64_t timeout_ns, uint64_t *event,
                                             uint64_t *recorded_ns, railbus_error *error) {
    return railbus_replay_next(replay, timeout_ns, (railbus_event *)event, recorded_ns, error);
}

static inline railbus_go_answer railbus_go_replay_batch(railbus_replay *replay, uint64_t *events,
                                                        uint64_t *recorded_ns, size_t events_max,
                                                        uint64_t timeout_ns, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    size_t count = 0;
    answer.result = railbus_replay_batch(replay, (railbus_event *)events, recorded_ns, events_max, timeout_ns, &count,
                                         error);
    answer.value = count;
    return answer;
}

/* A value that was read: a copy in the reader's memory. */
typedef struct railbus_go_value {
    const uint8_t *bytes;
    size_t count;
    uint64_t version;
    int32_t result;
} railbus_go_value;

/* The key that Go passes: text, or a number. */
static inline const void *railbus_go_key(const char *text, size_t text_bytes, const uint64_t *number) {
    return text_bytes == RAILBUS_NUMBER_KEY ? (const void *)number : text;
}

static inline railbus_go_answer railbus_go_table_set(railbus_table_writer *writer, const char *text, size_t text_bytes,
                                                     uint64_t number, const uint8_t *value, size_t value_bytes,
                                                     _Bool compares, uint64_t seen, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    const void *key = railbus_go_key(text, text_bytes, &number);
    if (compares)
        answer.result = railbus_table_compare_and_set(writer, key, text_bytes, seen, value, value_bytes, &answer.value,
                                                      error);
    else
        answer.result = railbus_table_set(writer, key, text_bytes, value, value_bytes, &answer.value, error);
    return answer;
}

static inline railbus_go_answer railbus_go_table_delete(railbus_table_writer *writer, const char *text,
                                                        size_t text_bytes, uint64_t number, _Bool compares,
                                                        uint64_t seen, railbus_error *error) {
    railbus_go_answer answer = {0, 0};
    const void *key = railbus_go_key(text, text_bytes, &number);
    if (compares)
        answer.result = railbus_table_compare_and_delete(writer, key, text_bytes, seen, &answer.value, error);
    else
        answer.result = railbus_table_delete(writer, key, text_bytes, &answer.value, error);
    return answer;
}

static inline railbus_go_value railbus_go_value_of(int32_t result, const railbus_value *value) {
    railbus_go_value answer = {value->bytes, value->count, value->version, result};
    return answer;
}

static inline railbus_go_value railbus_go_table_get(railbus_table_reader *reader, const char *text, size_t text_bytes,
                                                    uint64_t number, railbus_error *error) {
    railbus_value value = {NULL, 0, 0};
    int32_t result =
        railbus_table_get(reader, railbus_go_key(text, text_bytes, &number), text_bytes, &value, error);
    return railbus_go_value_of(result, &value);
}

static inline railbus_go_value railbus_go_table_wait_change(railbus_table_reader *reader, const char *text,
                                                            size_t text_bytes, uint64_t number, uint64_t seen,
                                                            uint64_t timeout_ns, railbus_error *error) {
    railbus_value value = {NULL, 0, 0};
    int32_t result = railbus_table_wait_change(reader, railbus_go_key(text, text_bytes, &number), text_bytes, seen,
                                               timeout_ns, &value, error);
    return railbus_go_value_of(result, &value);
}

/* The following are not on the hot path. They are here because names are Go memory, to which no struct may point. */

static inline int32_t railbus_go_bus_open(const char *name, size_t name_bytes, const char *directory,
                                          size_t directory_bytes, railbus_bus **bus, railbus_error *error) {
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    options.directory = directory;
    options.directory_bytes = directory_bytes;
    return railbus_bus_open(name, name_bytes, &options, bus, error);
}

/* Opening any bus sets it; nothing is made for that bus. */
static inline int32_t railbus_go_end_if_truncated(uint32_t exit_code, railbus_error *error) {
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    railbus_bus *bus = NULL;
    options.truncated_exit_code = exit_code;
    int32_t result = railbus_bus_open("any", RAILBUS_ZERO_TERMINATED, &options, &bus, error);
    railbus_bus_close(bus, NULL);
    return result;
}

static inline int32_t railbus_go_adopt(const railbus_bus *bus, const char *name, size_t name_bytes, const char *directory,
                                       size_t directory_bytes, railbus_channel **channel, railbus_error *error) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    options.adopt = directory;
    options.adopt_bytes = directory_bytes;
    return railbus_channel_create(bus, name, name_bytes, &options, channel, error);
}

static inline int32_t railbus_go_channel_make(const railbus_bus *bus, const char *name, size_t name_bytes,
                                              railbus_channel_options *options, const char *dead_letters,
                                              size_t dead_letters_bytes, const char *divert_to, size_t divert_to_bytes,
                                              int attach_too, railbus_channel **channel, railbus_error *error) {
    options->struct_size = sizeof *options;
    options->dead_letters = dead_letters;
    options->dead_letters_bytes = dead_letters_bytes;
    options->divert_to = divert_to;
    options->divert_to_bytes = divert_to_bytes;
    int32_t result = attach_too
                         ? railbus_channel_create_or_attach(bus, name, name_bytes, options, channel, error)
                         : railbus_channel_create(bus, name, name_bytes, options, channel, error);
    options->dead_letters = NULL;
    options->divert_to = NULL;
    return result;
}

static inline int32_t railbus_go_sender_open(const railbus_channel *channel, uint32_t flags, const char *name,
                                             size_t name_bytes, uint32_t wait, uint64_t spin_ns,
                                             railbus_sender **sender, railbus_error *error) {
    railbus_sender_options options = RAILBUS_SENDER_OPTIONS_INIT;
    options.flags = flags;
    options.name = name;
    options.name_bytes = name_bytes;
    options.wait = wait;
    options.spin_ns = spin_ns;
    return railbus_sender_open(channel, &options, sender, error);
}

static inline int32_t railbus_go_reader_open(const railbus_channel *channel, uint32_t flags, const char *name,
                                             size_t name_bytes, uint32_t wait, uint64_t spin_ns, uint32_t start,
                                             uint64_t position, uint64_t time_ns, uint32_t follow,
                                             railbus_reader **reader, railbus_error *error) {
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    options.flags = flags;
    options.name = name;
    options.name_bytes = name_bytes;
    options.wait = wait;
    options.spin_ns = spin_ns;
    options.start = start;
    options.position = position;
    options.time_ns = time_ns;
    options.follow = follow;
    return railbus_reader_open(channel, &options, reader, error);
}

static inline int32_t railbus_go_worker_open(const railbus_channel *channel, uint32_t flags, const char *name,
                                             size_t name_bytes, uint32_t wait, uint64_t spin_ns, uint32_t grab,
                                             uint32_t priority, uint32_t in_hand_max,
                                             railbus_worker **worker, railbus_error *error) {
    railbus_worker_options options = RAILBUS_WORKER_OPTIONS_INIT;
    options.flags = flags;
    options.name = name;
    options.name_bytes = name_bytes;
    options.wait = wait;
    options.spin_ns = spin_ns;
    options.grab = grab;
    options.priority = priority;
    options.in_hand_max = in_hand_max;
    return railbus_worker_open(channel, &options, worker, error);
}

static inline int32_t railbus_go_table_writer_open(const railbus_channel *channel, const char *name, size_t name_bytes,
                                                   railbus_table_writer **writer, railbus_error *error) {
    railbus_table_options options = RAILBUS_TABLE_OPTIONS_INIT;
    options.name = name;
    options.name_bytes = name_bytes;
    return railbus_table_writer_open(channel, &options, writer, error);
}

static inline int32_t railbus_go_table_reader_open(const railbus_channel *channel, const char *name, size_t name_bytes,
                                                   uint32_t wait, uint64_t spin_ns, railbus_table_reader **reader,
                                                   railbus_error *error) {
    railbus_table_options options = RAILBUS_TABLE_OPTIONS_INIT;
    options.name = name;
    options.name_bytes = name_bytes;
    options.wait = wait;
    options.spin_ns = spin_ns;
    return railbus_table_reader_open(channel, &options, reader, error);
}

static inline int32_t railbus_go_replay_open(const char *directory, size_t directory_bytes,
                                             railbus_replay_options *options, const uint16_t *type_ids,
                                             size_t type_ids_count, railbus_replay **replay, railbus_error *error) {
    options->type_ids = type_ids_count > 0 ? type_ids : NULL;
    options->type_ids_count = type_ids_count;
    int32_t result = railbus_replay_open(directory, directory_bytes, options, replay, error);
    options->type_ids = NULL;
    return result;
}

static inline int32_t railbus_go_checkpoint_save(railbus_checkpoint *checkpoint, uint64_t position,
                                                 const uint8_t *state, size_t state_bytes, railbus_error *error) {
    railbus_saved saved = RAILBUS_SAVED_INIT;
    saved.position = position;
    saved.state = state;
    saved.state_bytes = state_bytes;
    return railbus_checkpoint_call(&checkpoint, RAILBUS_CHECKPOINT_SAVE, NULL, NULL, 0, &saved, error);
}

#endif
