"""The role ``replay`` of the conformance program."""

from __future__ import annotations

import railbus
from payload import WAIT, Tally


def replayed(journal: str, mode: str, batch: int, type_ids: list[int] | None) -> tuple[Tally, int]:
    """The events of a journal, and how many it lacks."""
    tally = Tally(True)
    lost = 0
    with railbus.Replay(journal, type_ids=type_ids) as replay:
        while True:
            try:
                if mode == "next":
                    some = [replay.recv_event(WAIT)]
                else:
                    some = replay.recv_event_batch(batch, WAIT)
            except railbus.End:
                return tally, lost
            except railbus.Lost as gap:
                lost += gap.events or 0
                continue
            if not some:
                raise railbus.TimedOut("no event came")
            for event in some:
                tally.add_event(event)
