# The C ABI (ffi/include/railbus.h), as far as the extension uses it. The C compiler checks the
# declarations against the header, which documents them.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "railbus.h" nogil:
    const uint64_t RAILBUS_LAYOUT_FINGERPRINT
    const uint32_t RAILBUS_ABI_VERSION
    const uint64_t RAILBUS_FOREVER
    const uint64_t RAILBUS_NONE
    const size_t RAILBUS_NUMBER_KEY

    enum:
        RAILBUS_OK
        RAILBUS_EMPTY
        RAILBUS_FULL
        RAILBUS_TIMED_OUT
        RAILBUS_DROPPED
        RAILBUS_DIVERTED
        RAILBUS_LOST
        RAILBUS_CLOSED
        RAILBUS_PUBLISHED_BEFORE
        RAILBUS_END
        RAILBUS_ABSENT
        RAILBUS_CHANGED
        RAILBUS_INVALID
        RAILBUS_NOT_FOUND
        RAILBUS_EXISTS
        RAILBUS_NOT_ALLOWED
        RAILBUS_LAYOUT
        RAILBUS_CORRUPT
        RAILBUS_NO_SPACE
        RAILBUS_NO_HUGE_PAGES
        RAILBUS_BUSY
        RAILBUS_PEER_GONE
        RAILBUS_FORKED
        RAILBUS_IO
        RAILBUS_EVICTED
        RAILBUS_TOO_LONG
        RAILBUS_NO_WORKER
        RAILBUS_CLOSED_HANDLE
        RAILBUS_WRONG_LENGTH
        RAILBUS_NOT_HELD
        RAILBUS_CLAIM
        RAILBUS_WRONG_VERSION
        RAILBUS_REMOVED
        RAILBUS_NOT_SEQUENCED
        RAILBUS_PANIC

        RAILBUS_WAIT_DEFAULT
        RAILBUS_WAIT_SPIN
        RAILBUS_WAIT_YIELD
        RAILBUS_WAIT_PARK
        RAILBUS_STREAM
        RAILBUS_QUEUE
        RAILBUS_TOPIC
        RAILBUS_TABLE
        RAILBUS_OVERFLOW_BLOCK
        RAILBUS_OVERFLOW_DROP_NEWEST
        RAILBUS_OVERFLOW_LOSSY_READERS
        RAILBUS_OVERFLOW_DIVERT
        RAILBUS_PAGES_AUTO
        RAILBUS_PAGES_2MIB
        RAILBUS_PAGES_1GIB
        RAILBUS_PAGES_ORDINARY
        RAILBUS_STAMP
        RAILBUS_REQUIRE_HUGE
        RAILBUS_NO_MEMORY_LOCK
        RAILBUS_ON_NUMA_NODE
        RAILBUS_WITH_OWNER
        RAILBUS_WITH_RING_GROUP
        RAILBUS_WITH_ACKS_GROUP
        RAILBUS_WITH_CHANNEL_ID
        RAILBUS_KEYED
        RAILBUS_JOURNALED
        RAILBUS_HAS_TIME
        RAILBUS_HAS_TRACE
        RAILBUS_HAS_ORIGIN
        RAILBUS_REPLAYED
        RAILBUS_HAS_SEQUENCE
        RAILBUS_HAS_KEY
        RAILBUS_EVICT_STUCK
        RAILBUS_SEQUENCED
        RAILBUS_DURABLE
        RAILBUS_LOSSY
        RAILBUS_UNTIL_CLOSED
        RAILBUS_MANUAL
        RAILBUS_MAY_BE_STUCK
        RAILBUS_START_LIVE
        RAILBUS_START_OLDEST
        RAILBUS_START_LAST
        RAILBUS_START_POSITION
        RAILBUS_START_TIME
        RAILBUS_FOLLOW_NOT
        RAILBUS_FOLLOW_HOLD
        RAILBUS_FOLLOW_READ_JOURNAL
        RAILBUS_JOURNAL_STARTING
        RAILBUS_JOURNAL_RECORDING
        RAILBUS_JOURNAL_DRAINING
        RAILBUS_JOURNAL_STOPPED
        RAILBUS_JOURNAL_POISONED
        RAILBUS_JOURNAL_DEAD
        RAILBUS_SYNC_ALWAYS
        RAILBUS_SYNC_INTERVAL
        RAILBUS_SYNC_NEVER
        RAILBUS_CODEC_NONE
        RAILBUS_CODEC_LZ4
        RAILBUS_CODEC_ZSTD
        RAILBUS_RECORD_LOSSY
        RAILBUS_RECORD_DROP_WHEN_FULL
        RAILBUS_AT_JOURNAL
        RAILBUS_AT_POSITION
        RAILBUS_CHECKPOINT_OPEN
        RAILBUS_CHECKPOINT_SAVE
        RAILBUS_CHECKPOINT_CLOSE
        RAILBUS_AT_TIME
        RAILBUS_REPEAT
        RAILBUS_PRODUCERS
        RAILBUS_CONSUMERS
        RAILBUS_ROLE_PRODUCER
        RAILBUS_ROLE_SUBSCRIBER
        RAILBUS_ROLE_WORKER
        RAILBUS_ROLE_TAP
        RAILBUS_LIVE
        RAILBUS_DEAD
        RAILBUS_HELD
        RAILBUS_LIFE_EVICTED
        RAILBUS_EVICTED_TOLD
        RAILBUS_EVICTED_FORGOTTEN
        RAILBUS_EVICTED_KILLED
        RAILBUS_EVICTED_DEAD
        RAILBUS_EVICTED_FENCED

    ctypedef struct railbus_bus:
        pass
    ctypedef struct railbus_channel:
        pass
    ctypedef struct railbus_sender:
        pass
    ctypedef struct railbus_reader:
        pass
    ctypedef struct railbus_worker:
        pass
    ctypedef struct railbus_bridge:
        pass
    ctypedef struct railbus_recorder:
        pass
    ctypedef struct railbus_replay:
        pass
    ctypedef struct railbus_checkpoint:
        pass
    ctypedef struct railbus_table_writer:
        pass
    ctypedef struct railbus_table_reader:
        pass

    ctypedef struct railbus_error:
        int32_t code
        uint64_t lost_from
        uint64_t lost_to
        uint64_t lost_events
        char message[256]

    ctypedef struct railbus_bus_options:
        uint32_t struct_size
        uint32_t abi_version
        uint64_t layout_fingerprint
        const char *directory
        size_t directory_bytes
        uint32_t truncated_exit_code

    ctypedef struct railbus_channel_options:
        uint32_t struct_size
        uint32_t kind
        uint32_t flags
        uint32_t overflow
        uint64_t capacity_bytes
        uint64_t slots
        uint64_t slot_bytes
        uint32_t producers_max
        uint32_t consumers_max
        uint32_t pages
        uint32_t numa_node
        uint32_t max_attempts
        uint32_t ring_mode
        uint32_t acks_mode
        uint32_t owner
        uint32_t ring_group
        uint32_t acks_group
        uint64_t stuck_after_ns
        const char *dead_letters
        size_t dead_letters_bytes
        uint64_t first_position
        uint64_t incarnation
        uint8_t channel_id[16]
        uint32_t high_watermark
        uint32_t low_watermark
        uint32_t credits
        uint32_t reserved
        const char *divert_to
        size_t divert_to_bytes
        const char *adopt
        size_t adopt_bytes
        uint64_t keys
        uint64_t value_bytes

    ctypedef struct railbus_channel_header:
        uint32_t struct_size
        uint32_t kind
        uint32_t overflow
        uint32_t stamp
        uint64_t payload_max
        uint64_t capacity_bytes
        uint64_t slots
        uint64_t slot_bytes
        uint64_t page_bytes
        uint32_t huge_pages
        int32_t numa_node
        uint32_t producers_max
        uint32_t consumers_max
        uint32_t max_attempts
        uint32_t creator_pid
        uint64_t stuck_after_ns
        uint64_t first_position
        uint64_t created_ns
        uint64_t incarnation
        uint8_t channel_id[16]
        char bus[104]
        char name[104]
        char dead_letters[104]
        char divert_to[104]
        uint32_t high_watermark
        uint32_t low_watermark
        uint32_t credits
        uint32_t keyed
        uint64_t keys
        uint64_t value_bytes

    ctypedef struct railbus_event:
        const uint8_t *payload
        uint64_t position
        uint32_t payload_bytes
        uint16_t type_id
        uint8_t flags
        uint8_t attempt

    ctypedef struct railbus_attributes:
        uint32_t struct_size
        uint16_t type_id
        uint8_t flags
        uint8_t trace_flags
        uint64_t published_ns
        uint8_t trace_id[16]
        uint8_t span_id[8]
        uint64_t origin_channel
        uint64_t origin_incarnation
        uint64_t origin_position
        uint64_t origin_attempts
        uint64_t sequence_publisher
        uint64_t sequence_number
        uint64_t key

    ctypedef struct railbus_sender_options:
        uint32_t struct_size
        uint32_t flags
        const char *name
        size_t name_bytes
        uint32_t wait
        uint64_t spin_ns

    ctypedef struct railbus_bytes:
        const uint8_t *bytes
        size_t count

    ctypedef struct railbus_sender_stats:
        uint32_t struct_size
        uint32_t under_pressure
        uint64_t events
        uint64_t dropped
        uint64_t payload_max
        uint64_t resume_point
        uint64_t diverted
        char refusal[256]

    ctypedef struct railbus_reader_options:
        uint32_t struct_size
        uint32_t flags
        const char *name
        size_t name_bytes
        uint32_t wait
        uint32_t start
        uint64_t spin_ns
        uint64_t position
        uint64_t time_ns
        uint32_t follow

    ctypedef struct railbus_strided:
        uint32_t struct_size
        void *payloads
        size_t stride_bytes
        size_t events_max
        uint32_t *lengths
        uint64_t *positions
        uint16_t *type_ids
        uint64_t *published_ns

    ctypedef struct railbus_reader_stats:
        uint32_t struct_size
        uint64_t events
        uint64_t lost
        uint64_t position
        uint64_t acknowledged

    ctypedef struct railbus_worker_options:
        uint32_t struct_size
        uint32_t flags
        const char *name
        size_t name_bytes
        uint32_t wait
        uint32_t grab
        uint64_t spin_ns
        uint32_t priority
        uint32_t in_hand_max

    ctypedef struct railbus_job:
        railbus_event event
        uint64_t token

    ctypedef struct railbus_worker_stats:
        uint32_t struct_size
        uint64_t events
        uint64_t in_hand

    ctypedef struct railbus_journal:
        uint32_t struct_size
        uint32_t state
        uint64_t written
        uint64_t durable
        uint64_t end
        uint64_t first
        uint64_t started_ns
        uint64_t events
        uint64_t bytes
        uint64_t gaps
        uint64_t lost
        uint32_t pid
        uint32_t no_space
        char directory[1024]
        char failure[512]

    ctypedef struct railbus_recorder_options:
        uint32_t struct_size
        uint32_t flags
        uint32_t sync
        uint32_t codec
        uint64_t sync_interval_ns
        uint64_t segment_bytes
        uint64_t staging_bytes
        uint64_t keep_bytes
        uint64_t keep_ns

    ctypedef struct railbus_saved:
        uint32_t struct_size
        uint64_t position
        const void *state
        size_t state_bytes
        uint64_t number
        uint64_t time_ns
        uint64_t incarnation

    ctypedef struct railbus_replay_options:
        uint32_t struct_size
        uint32_t flags
        uint32_t from_what
        uint32_t to_what
        uint64_t from_ "from"
        uint64_t to
        const uint16_t *type_ids
        size_t type_ids_count
        double speed
        double rate

    ctypedef struct railbus_channel_info:
        uint32_t struct_size
        uint32_t memory_locked
        uint64_t published
        uint64_t oldest
        uint64_t head
        uint64_t depth
        uint64_t capacity
        uint64_t unfinished
        uint64_t dropped
        uint64_t redelivered
        uint64_t dead_lettered
        uint64_t total_bytes
        uint64_t page_bytes
        uint64_t huge_bytes
        uint32_t ring_uid
        uint32_t ring_gid
        uint32_t ring_mode
        uint32_t acks_uid
        uint32_t acks_gid
        uint32_t acks_mode

    ctypedef struct railbus_participant:
        uint32_t side
        uint32_t index
        uint32_t role
        uint32_t life
        uint32_t flags
        uint32_t pid
        uint32_t tid
        uint64_t start_time
        uint64_t cursor
        uint64_t position
        uint64_t lag
        uint64_t in_hand
        uint64_t events
        uint64_t bytes
        uint64_t lost
        uint64_t dropped
        uint64_t attached_ns
        uint64_t seen_ns
        uint64_t waiting_ns
        uint64_t waiting_for
        uint64_t stuck_ns
        char name[72]

    ctypedef struct railbus_repaired:
        uint32_t struct_size
        uint32_t skipped
        uint64_t buried
        uint64_t unsettled
        uint64_t aborted
        uint64_t redone

    ctypedef struct railbus_table_options:
        uint32_t struct_size
        uint32_t wait
        const char *name
        size_t name_bytes
        uint64_t spin_ns

    ctypedef struct railbus_value:
        const uint8_t *bytes
        size_t count
        uint64_t version

    ctypedef struct railbus_table_item:
        uint8_t key[64]
        size_t key_bytes
        uint64_t version
        uint64_t value_bytes

    const char *railbus_describe(int32_t code)
    const char *railbus_version()
    uint64_t railbus_layout_fingerprint()

    int32_t railbus_bus_open(const char *name, size_t name_bytes, const railbus_bus_options *options,
                             railbus_bus **bus, railbus_error *error)
    int32_t railbus_bus_close(railbus_bus *bus, railbus_error *error)
    int32_t railbus_bus_list(const railbus_bus *bus, char *names, size_t names_bytes, size_t *needed,
                             railbus_error *error)
    int32_t railbus_bus_remove(const railbus_bus *bus, const char *channel, size_t channel_bytes,
                               railbus_error *error)

    int32_t railbus_channel_create(const railbus_bus *bus, const char *name, size_t name_bytes,
                                   const railbus_channel_options *options, railbus_channel **channel,
                                   railbus_error *error)
    int32_t railbus_channel_attach(const railbus_bus *bus, const char *name, size_t name_bytes,
                                   railbus_channel **channel, railbus_error *error)
    int32_t railbus_channel_attach_timeout(const railbus_bus *bus, const char *name, size_t name_bytes,
                                           uint64_t timeout_ns, railbus_channel **channel,
                                           railbus_error *error)
    int32_t railbus_channel_create_or_attach(const railbus_bus *bus, const char *name, size_t name_bytes,
                                             const railbus_channel_options *options,
                                             railbus_channel **channel, railbus_error *error)
    int32_t railbus_channel_close(railbus_channel *channel, railbus_error *error)
    int32_t railbus_channel_describe(const railbus_channel *channel, railbus_channel_header *header,
                                     railbus_error *error)
    int32_t railbus_channel_inspect(const railbus_channel *channel, railbus_channel_info *info,
                                    railbus_participant *participants, size_t participants_max,
                                    size_t *participants_count, railbus_error *error)
    int32_t railbus_channel_repair(const railbus_channel *channel, railbus_repaired *repaired,
                                   railbus_error *error)
    int32_t railbus_channel_evict(const railbus_channel *channel, uint32_t side, uint32_t index,
                                  uint64_t timeout_ns, uint32_t *outcome, railbus_error *error)

    int32_t railbus_event_attributes(const railbus_event *event, railbus_attributes *attributes,
                                     railbus_error *error)

    int32_t railbus_sender_open(const railbus_channel *channel, const railbus_sender_options *options,
                                railbus_sender **sender, railbus_error *error)
    int32_t railbus_sender_close(railbus_sender *sender, railbus_error *error)
    int32_t railbus_publish(railbus_sender *sender, const void *payload, size_t payload_bytes,
                            uint64_t timeout_ns, uint64_t *position, railbus_error *error)
    int32_t railbus_publish_with(railbus_sender *sender, const void *payload, size_t payload_bytes,
                                 const railbus_attributes *attributes, uint64_t timeout_ns,
                                 uint64_t *position, railbus_error *error)
    int32_t railbus_publish_numbered(railbus_sender *sender, uint64_t number, const void *payload,
                                     size_t payload_bytes, const railbus_attributes *attributes,
                                     uint64_t timeout_ns, uint64_t *position, railbus_error *error)
    int32_t railbus_publish_batch(railbus_sender *sender, const railbus_bytes *payloads, size_t count,
                                  uint64_t timeout_ns, size_t *published, railbus_error *error)
    int32_t railbus_publish_strided(railbus_sender *sender, const void *payloads, size_t stride_bytes,
                                    const uint32_t *lengths, size_t count, uint64_t timeout_ns,
                                    size_t *published, railbus_error *error)
    int32_t railbus_claim(railbus_sender *sender, size_t payload_bytes, const railbus_attributes *attributes,
                          uint64_t timeout_ns, void **payload, railbus_error *error)
    int32_t railbus_commit(railbus_sender *sender, size_t payload_bytes, uint64_t *position,
                           railbus_error *error)
    int32_t railbus_abort(railbus_sender *sender, railbus_error *error)
    int32_t railbus_sender_readers(railbus_sender *sender, size_t *readers, railbus_error *error)
    int32_t railbus_sender_statistics(railbus_sender *sender, railbus_sender_stats *stats,
                                      railbus_error *error)

    int32_t railbus_reader_open(const railbus_channel *channel, const railbus_reader_options *options,
                                railbus_reader **reader, railbus_error *error)
    int32_t railbus_reader_close(railbus_reader *reader, railbus_error *error)
    int32_t railbus_receive(railbus_reader *reader, uint64_t timeout_ns, railbus_event *event,
                            railbus_error *error)
    int32_t railbus_receive_batch(railbus_reader *reader, railbus_event *events, size_t events_max,
                                  uint64_t timeout_ns, size_t *count, railbus_error *error)
    int32_t railbus_receive_into(railbus_reader *reader, const railbus_strided *to, uint64_t timeout_ns,
                                 size_t *count, railbus_error *error)
    int32_t railbus_release(railbus_reader *reader, railbus_error *error)
    int32_t railbus_acknowledge_to(railbus_reader *reader, uint64_t position, railbus_error *error)
    int32_t railbus_reader_statistics(railbus_reader *reader, railbus_reader_stats *stats,
                                      railbus_error *error)

    int32_t railbus_worker_open(const railbus_channel *channel, const railbus_worker_options *options,
                                railbus_worker **worker, railbus_error *error)
    int32_t railbus_worker_close(railbus_worker *worker, railbus_error *error)
    int32_t railbus_take(railbus_worker *worker, uint64_t timeout_ns, railbus_job *job, railbus_error *error)
    int32_t railbus_take_batch(railbus_worker *worker, railbus_job *jobs, size_t jobs_max,
                               uint64_t timeout_ns, size_t *count, railbus_error *error)
    int32_t railbus_done(railbus_worker *worker, const railbus_job *jobs, size_t count, railbus_error *error)
    int32_t railbus_retry(railbus_worker *worker, const railbus_job *jobs, size_t count, railbus_error *error)
    int32_t railbus_worker_statistics(railbus_worker *worker, railbus_worker_stats *stats,
                                      railbus_error *error)

    int32_t railbus_bridge_open(const railbus_channel *channel, railbus_bridge **bridge, int *descriptor,
                                railbus_error *error)
    int32_t railbus_bridge_close(railbus_bridge *bridge, railbus_error *error)
    int32_t railbus_bridge_arm_reader(const railbus_bridge *bridge, const railbus_reader *reader,
                                      railbus_error *error)
    int32_t railbus_bridge_arm_worker(const railbus_bridge *bridge, const railbus_worker *worker,
                                      railbus_error *error)
    int32_t railbus_bridge_arm_table(const railbus_bridge *bridge, railbus_table_reader *reader,
                                     railbus_error *error)
    int32_t railbus_bridge_drain(const railbus_bridge *bridge, railbus_error *error)

    int32_t railbus_table_writer_open(const railbus_channel *channel, const railbus_table_options *options,
                                      railbus_table_writer **writer, railbus_error *error)
    int32_t railbus_table_writer_close(railbus_table_writer *writer, railbus_error *error)
    int32_t railbus_table_set(railbus_table_writer *writer, const void *key, size_t key_bytes,
                              const void *value, size_t value_bytes, uint64_t *version, railbus_error *error)
    int32_t railbus_table_compare_and_set(railbus_table_writer *writer, const void *key, size_t key_bytes,
                                          uint64_t seen, const void *value, size_t value_bytes,
                                          uint64_t *version, railbus_error *error)
    int32_t railbus_table_delete(railbus_table_writer *writer, const void *key, size_t key_bytes,
                                 uint64_t *version, railbus_error *error)
    int32_t railbus_table_compare_and_delete(railbus_table_writer *writer, const void *key, size_t key_bytes,
                                             uint64_t seen, uint64_t *version, railbus_error *error)
    int32_t railbus_table_reader_open(const railbus_channel *channel, const railbus_table_options *options,
                                      railbus_table_reader **reader, railbus_error *error)
    int32_t railbus_table_reader_close(railbus_table_reader *reader, railbus_error *error)
    int32_t railbus_table_get(railbus_table_reader *reader, const void *key, size_t key_bytes,
                              railbus_value *value, railbus_error *error)
    int32_t railbus_table_wait_change(railbus_table_reader *reader, const void *key, size_t key_bytes,
                                      uint64_t seen, uint64_t timeout_ns, railbus_value *value,
                                      railbus_error *error)
    int32_t railbus_table_get_all(railbus_table_reader *reader, uint64_t *next, railbus_table_item *items,
                                  size_t items_max, void *values, size_t stride_bytes, size_t *count,
                                  railbus_error *error)
    int32_t railbus_table_changes(railbus_table_reader *reader, uint64_t timeout_ns,
                                  railbus_table_item *items, size_t items_max, void *values,
                                  size_t stride_bytes, size_t *count, railbus_error *error)
    int32_t railbus_table_count(railbus_table_reader *reader, size_t *keys, railbus_error *error)

    int32_t railbus_journal_positions(const railbus_channel *channel, railbus_journal *journal,
                                      railbus_error *error)
    int32_t railbus_wait_written(const railbus_channel *channel, uint64_t position, uint64_t timeout_ns,
                                 uint64_t *reached, railbus_error *error)
    int32_t railbus_wait_durable(const railbus_channel *channel, uint64_t position, uint64_t timeout_ns,
                                 uint64_t *reached, railbus_error *error)
    int32_t railbus_publish_durable(railbus_sender *sender, const void *payload, size_t payload_bytes,
                                    const railbus_attributes *attributes, uint64_t timeout_ns,
                                    uint64_t *position, railbus_error *error)
    int32_t railbus_recorder_start(const railbus_channel *channel, const char *journal, size_t journal_bytes,
                                   const railbus_recorder_options *options, railbus_recorder **recorder,
                                   railbus_error *error)
    int32_t railbus_recorder_stop(railbus_recorder *recorder, railbus_error *error)
    int32_t railbus_replay_open(const char *directory, size_t directory_bytes,
                                const railbus_replay_options *options, railbus_replay **replay,
                                railbus_error *error)
    int32_t railbus_checkpoint_call(railbus_checkpoint **checkpoint, uint32_t operation,
                                    const railbus_channel *channel, const char *name, size_t name_bytes,
                                    railbus_saved *saved, railbus_error *error)
    int32_t railbus_replay_close(railbus_replay *replay, railbus_error *error)
    int32_t railbus_replay_next(railbus_replay *replay, uint64_t timeout_ns, railbus_event *event,
                                uint64_t *recorded_ns, railbus_error *error)
    int32_t railbus_replay_batch(railbus_replay *replay, railbus_event *events, uint64_t *recorded_ns,
                                 size_t events_max, uint64_t timeout_ns, size_t *count, railbus_error *error)
