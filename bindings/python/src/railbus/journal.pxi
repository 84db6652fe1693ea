# Recorder: records a channel in a thread of this process; and the state of a journal.

cdef dict SYNCS = {
    "always": RAILBUS_SYNC_ALWAYS, "interval": RAILBUS_SYNC_INTERVAL, "never": RAILBUS_SYNC_NEVER,
}
cdef dict CODECS = {"none": RAILBUS_CODEC_NONE, "lz4": RAILBUS_CODEC_LZ4, "zstd": RAILBUS_CODEC_ZSTD}
cdef dict JOURNAL_STATES = {
    "starting": RAILBUS_JOURNAL_STARTING, "recording": RAILBUS_JOURNAL_RECORDING,
    "draining": RAILBUS_JOURNAL_DRAINING, "stopped": RAILBUS_JOURNAL_STOPPED,
    "poisoned": RAILBUS_JOURNAL_POISONED, "dead": RAILBUS_JOURNAL_DEAD,
}


cdef object read_journal(railbus_channel *channel):
    cdef railbus_journal journal
    cdef railbus_error error
    memset(&journal, 0, sizeof(journal))
    journal.struct_size = sizeof(journal)
    check(railbus_journal_positions(channel, &journal, &error), &error)
    failed = journal.failure[:strlen(journal.failure)].decode("utf-8", "replace")
    return _records.Journal(
        state=word_of(JOURNAL_STATES, journal.state), written=journal.written, durable=journal.durable,
        end=journal.end, first=journal.first, started_ns=journal.started_ns, events=journal.events,
        bytes=journal.bytes, gaps=journal.gaps, lost=journal.lost, pid=journal.pid,
        no_space=journal.no_space != 0, directory=_os.fsdecode(<bytes>journal.directory),
        failure=failed or None)


cdef class Recorder:
    """Records a channel below ``directory`` (in ``directory/BUS/CHANNEL``), in a thread of this
    process, until it is stopped: ``with Recorder(channel, directory):``. The daemon ``railbus
    journald`` does the same for others.

    Records that are there already are recovered first. If the process dies, the events that it had
    taken and not written are kept for the next recorder.

    ``sync`` says when written blocks are made durable: "always" (at once), "interval" (every
    ``sync_interval_ns``), or "never" (when it stops). ``codec`` is "none", "lz4" or "zstd". With
    ``lossy`` it never holds a publisher back, but loses events, exactly recorded as a gap; with
    ``drop_when_full`` it does so while the disk is full. ``segment_bytes`` (256 MiB if not given) is
    the size of the files. ``staging_bytes`` is the room for events while the disk stalls: if not
    given, as large as four of the channel's rings, but 1 to 16 MiB. ``keep_bytes`` and ``keep_ns`` limit how much is kept.

    Raises BusyError while another journaller records the channel, or writes to the directory.
    CorruptError names the damage. Also raises InvalidError, NoSpaceError, NotAllowedError, IoError.
    """

    cdef railbus_recorder *handle
    cdef readonly Channel channel
    """The channel that it records."""

    def __init__(self, Channel channel not None, directory, *, lossy=False, drop_when_full=False,
                 sync="always", sync_interval_ns=0, codec="none", segment_bytes=0, staging_bytes=0, keep_bytes=0,
                 keep_ns=0):
        cdef railbus_recorder_options options
        cdef railbus_recorder *handle = NULL
        cdef railbus_channel *recorded
        cdef railbus_error error
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a recorder is started once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if lossy:
            options.flags |= RAILBUS_RECORD_LOSSY
        if drop_when_full:
            options.flags |= RAILBUS_RECORD_DROP_WHEN_FULL
        options.sync = choice(sync, "sync", SYNCS)
        options.codec = choice(codec, "codec", CODECS)
        options.sync_interval_ns = number(sync_interval_ns, "sync_interval_ns", FOREVER)
        options.segment_bytes = number(segment_bytes, "segment_bytes", FOREVER)
        options.staging_bytes = number(staging_bytes, "staging_bytes", FOREVER)
        options.keep_bytes = number(keep_bytes, "keep_bytes", FOREVER)
        options.keep_ns = number(keep_ns, "keep_ns", FOREVER)
        encoded = _os.fsencode(directory)
        cdef const char *where = encoded
        cdef size_t count = len(encoded)
        recorded = channel.use()
        with nogil:
            result = railbus_recorder_start(recorded, where, count, &options, &handle, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle
        self.channel = channel

    def __dealloc__(self):
        railbus_recorder_stop(self.handle, NULL)

    def __repr__(self):
        return f"<Recorder of {self.channel.name!r}{'' if self.handle != NULL else ', stopped'}>"

    def __enter__(self):
        if self.handle == NULL:
            raise _errors.ClosedHandleError("the recorder was stopped")
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        """Stops recording. Events that were published before are written, made durable and sealed.
        Waits for the disk. Stopping again does nothing.

        If the journal is poisoned, raises the failure that poisoned it; it is stopped all the same.
        """
        cdef railbus_recorder *handle = self.handle
        cdef railbus_error error
        cdef int32_t result
        self.handle = NULL
        with nogil:
            result = railbus_recorder_stop(handle, &error)
        check(result, &error)
