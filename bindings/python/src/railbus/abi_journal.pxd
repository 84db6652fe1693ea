# The journal's part of the C ABI, as abi.pxd is the rest.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from railbus.abi cimport railbus_channel, railbus_error, railbus_event

cdef extern from "railbus.h" nogil:
    enum:
        RAILBUS_END
        RAILBUS_START_TIME
        RAILBUS_FOLLOW_HOLD
        RAILBUS_FOLLOW_READ_JOURNAL
        RAILBUS_JOURNAL_STARTING
        RAILBUS_JOURNAL_RECORDING
        RAILBUS_JOURNAL_DRAINING
        RAILBUS_JOURNAL_STOPPED
        RAILBUS_JOURNAL_POISONED
        RAILBUS_JOURNAL_DEAD
        RAILBUS_AT_JOURNAL
        RAILBUS_AT_POSITION
        RAILBUS_AT_TIME
        RAILBUS_REPEAT
        RAILBUS_SYNC_ALWAYS
        RAILBUS_SYNC_INTERVAL
        RAILBUS_SYNC_NEVER
        RAILBUS_CODEC_NONE
        RAILBUS_CODEC_LZ4
        RAILBUS_CODEC_ZSTD
        RAILBUS_RECORD_LOSSY
        RAILBUS_RECORD_DROP_WHEN_FULL

    ctypedef struct railbus_recorder:
        pass
    ctypedef struct railbus_replay:
        pass

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

    ctypedef struct railbus_replay_options:
        uint32_t struct_size
        uint32_t flags
        uint32_t from_what
        uint32_t to_what
        uint64_t begin "from"
        uint64_t to
        const uint16_t *type_ids
        size_t type_ids_count
        double speed
        double rate

    int32_t railbus_journal_positions(const railbus_channel *channel, railbus_journal *journal, railbus_error *error)
    int32_t railbus_wait_written(const railbus_channel *channel, uint64_t position, uint64_t timeout_ns,
                                 uint64_t *reached, railbus_error *error)
    int32_t railbus_wait_durable(const railbus_channel *channel, uint64_t position, uint64_t timeout_ns,
                                 uint64_t *reached, railbus_error *error)
    int32_t railbus_recorder_start(const railbus_channel *channel, const char *journal, size_t journal_bytes,
                                   const railbus_recorder_options *options, railbus_recorder **recorder,
                                   railbus_error *error)
    int32_t railbus_recorder_stop(railbus_recorder *recorder, railbus_error *error)
    int32_t railbus_replay_open(const char *directory, size_t directory_bytes, const railbus_replay_options *options,
                                railbus_replay **replay, railbus_error *error)
    int32_t railbus_replay_close(railbus_replay *replay, railbus_error *error)
    int32_t railbus_replay_batch(railbus_replay *replay, railbus_event *events, uint64_t *recorded_ns,
                                 size_t events_max, uint64_t timeout_ns, size_t *count, railbus_error *error)
