"""Views, jobs and claims: nothing can look at shared memory that belongs to others."""

from __future__ import annotations

import gc

import numpy
import pytest

import railbus
from railbus import Channel


def test_a_view_shows_an_event_in_place(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish(bytes(range(16)))
        publisher.publish(b"next")
        with subscriber.view() as event:
            assert len(event) == 16 and event.payload == bytes(event) == bytes(range(16))
            data = event.data
            assert data.readonly and data[3] == 3
            assert numpy.frombuffer(event, "<u8")[1] == int.from_bytes(bytes(range(8, 16)), "little")
            with pytest.raises(TypeError):
                data[0] = 1
        with pytest.raises(ValueError):
            data[0]
        for use in (
            lambda: event.data,
            lambda: event.payload,
            lambda: memoryview(event),
            lambda: event.trace,
            lambda: event.copy(),
        ):
            with pytest.raises(BufferError):
                use()
        assert event.position == 0
        assert subscriber.recv() == b"next"


def test_a_view_is_used_with_a_with_block(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish(b"1")
        view = subscriber.view()
        with pytest.raises(BufferError, match="with"):
            view.data
        with view:
            for use in (subscriber.recv, subscriber.try_recv, subscriber.recv_batch, subscriber.release):
                with pytest.raises(BufferError, match="with block"):
                    use()
            assert view.payload == b"1"
        with pytest.raises(BufferError, match="once"), view:
            pass
        with pytest.raises(railbus.Empty), subscriber.view(0):
            pass


@pytest.mark.parametrize(
    "look",
    [
        memoryview,
        numpy.frombuffer,
        lambda event: numpy.frombuffer(event.data)[1:],
        lambda event: numpy.asarray(event.data),
        lambda event: event.data[2:],
    ],
)
def test_a_buffer_cannot_outlive_its_slot(small_stream: Channel, look: object) -> None:
    with small_stream.subscriber() as subscriber, small_stream.publisher() as publisher:
        publisher.publish(bytes(range(64)))
        publisher.publish(b"next")
        with pytest.raises(BufferError, match="still look at the event"):
            with subscriber.view() as event:
                array = look(event)  # type: ignore[operator]
                before = bytes(array)
        # It is safe, and says so, until the array is gone: the publisher has to wait for the slot.
        for use in (subscriber.recv, subscriber.release, subscriber.close):
            with pytest.raises(BufferError, match="still look at the event"):
                use()
        while publisher.try_publish(b"\xff" * 64) is not None:
            pass
        assert bytes(array) == before
        del array
        assert subscriber.recv() == b"next"


def test_an_exception_in_a_block_is_not_masked(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish(bytes(8))
        publisher.publish(b"next")
        with pytest.raises(ZeroDivisionError), subscriber.view() as event:
            array = numpy.frombuffer(event, "u1")
            assert 1 // int(array[0])
        with pytest.raises(BufferError, match="still look at the event"):
            subscriber.recv()
        del array
        assert subscriber.recv() == b"next"


def test_a_buffer_outlives_everything_else(stream: Channel) -> None:
    """Only the array is left: it keeps the subscriber, and so the memory."""

    def leave() -> numpy.ndarray[tuple[int], numpy.dtype[numpy.uint8]]:
        subscriber, publisher = stream.subscriber(), stream.publisher()
        publisher.publish(b"remains")
        try:
            with subscriber.view() as event:
                array = numpy.frombuffer(event, "u1")
        except BufferError:
            pass
        return array

    array = leave()
    gc.collect()
    assert bytes(array) == b"remains"
    assert [who.role for who in stream.inspect().participants if who.life == "live"] == ["subscriber"]
    del array
    gc.collect()
    assert [who.role for who in stream.inspect().participants if who.life == "live"] == []


def test_a_claim_is_written_in_place(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        with publisher.claim(16) as claim:
            numpy.frombuffer(claim, "<u8")[:] = [1, 2]
            assert claim.position is None and len(claim) == 16
        assert claim.position == 0
        with publisher.claim(16) as claim:
            claim.data[:4] = b"four"
            assert claim.commit(4) == 24
        with pytest.raises(ZeroDivisionError), publisher.claim(16):
            assert 1 / 0
        with publisher.claim(16) as claim:
            claim.abort()
            with pytest.raises(railbus.ClaimError):
                claim.commit()
        with pytest.raises(railbus.TooLongError), publisher.claim(8) as claim:
            claim.commit(9)
        assert subscriber.recv_batch() == [(1).to_bytes(8, "little") + (2).to_bytes(8, "little"), b"four"]


def test_nobody_writes_a_published_event(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        with pytest.raises(BufferError, match="can still write"):
            with publisher.claim(8) as claim:
                array = numpy.frombuffer(claim, "u1")
                array[:] = 1
        # The claim is still there, and nothing of it is published.
        with pytest.raises(railbus.ClaimError):
            publisher.publish(b"2")
        with pytest.raises(BufferError):
            publisher.close()
        with pytest.raises(BufferError):
            claim.data
        array[:] = 3
        del array
        publisher.publish(b"2")
        assert subscriber.recv_batch() == [b"2"]


def test_an_open_claim_is_aborted_by_closing(stream: Channel) -> None:
    with stream.subscriber() as subscriber:
        with stream.publisher() as publisher:
            with publisher.claim(8) as claim:
                with pytest.raises(railbus.ClaimError):
                    publisher.publish(b"1")
                publisher.close()
                with pytest.raises(BufferError):
                    claim.data
                with pytest.raises(railbus.ClaimError):
                    claim.commit()
        assert subscriber.try_recv() is None


def test_a_job_stays_in_hand_while_something_looks_at_it(queue: Channel) -> None:
    with queue.producer() as producer, queue.worker() as worker:
        producer.publish_batch([b"12345678"] * 3)
        jobs = worker.take_batch()
        arrays = [numpy.frombuffer(job, "u1") for job in jobs[:2]]
        for use in (jobs[0].done, jobs[0].retry, lambda: worker.done(jobs), worker.close):
            with pytest.raises(BufferError):
                use()
        with pytest.raises(BufferError):
            with jobs[1] as job:
                assert bytes(job.data) == b"12345678"
        assert worker.stats().in_hand == 3 and bytes(arrays[1]) == b"12345678"
        arrays.clear()
        worker.done(jobs)
        with pytest.raises(BufferError):
            jobs[0].payload
        producer.publish(b"unfinished")
        job = worker.take()
        worker.close()
        with pytest.raises(BufferError):
            job.payload
        with pytest.raises(railbus.ClosedHandleError):
            job.done()


def test_what_was_copied_stays(small_stream: Channel) -> None:
    with small_stream.subscriber() as subscriber, small_stream.publisher() as publisher:
        publisher.publish(bytes(range(200)))
        with subscriber.view() as event:
            copy = event.copy()
        for _ in range(100):
            publisher.publish(b"\xff" * 200)
            subscriber.recv()
        assert copy == railbus.Event(bytes(range(200)), 0)
