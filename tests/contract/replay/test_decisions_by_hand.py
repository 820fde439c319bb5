"""Operators park and discard dead letters, on every broker."""

from __future__ import annotations

import pytest

from streams.operate.replay.journal.control import dispose
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.run import disposition_publisher


async def _dispose(lot, disposition, actor="ann", pages=None):
    async def every():
        for page in pages or await lot.pages():
            yield page

    return await dispose(
        lot.broker,
        lot.shards,
        lot.clock,
        lot.topology,
        lot.source,
        every(),
        disposition,
        actor,
        "why not",
    )


@pytest.mark.on_kafka
async def test_a_discarded_letter_stays_in_the_queue_and_is_shown_as_discarded(lot):
    """A decision is recorded; it deletes nothing."""
    await lot.bury(b"{", b"[")
    await lot.bury(b"x", key=b"other")
    before = [letter.id for letter in await lot.letters()]
    done = await _dispose(lot, ReplayDisposition.DISCARDED)
    assert (done.disposed, done.unchanged, done.shown) == (3, 0, True)
    assert [letter.id for letter in await lot.letters()] == before
    assert lot.shown() == dict.fromkeys(before, ("discarded", 2, "ann"))
    again = await _dispose(lot, ReplayDisposition.DISCARDED)
    assert (again.disposed, again.unchanged) == (0, 3)
    assert [(await lot.standing(number)).arrears for number in range(2)] == [{}, {}]


async def test_repeating_a_decision_changes_nothing(lot):
    """Otherwise each repetition would write a new version into the audit trail."""
    await lot.bury(b"{")
    await _dispose(lot, ReplayDisposition.DISCARDED)
    done = await _dispose(lot, ReplayDisposition.DISCARDED, actor="bob")
    assert (done.disposed, done.unchanged) == (0, 1)
    assert set(lot.shown().values()) == {("discarded", 2, "ann")}


async def test_a_parked_letter_is_copied_whole_and_may_be_discarded_later(lot):
    """An operator who reads the parking lot needs everything that the DLQ shows, and the reason."""
    await lot.bury(b"{", headers=[("h", b"1")])
    await _dispose(lot, ReplayDisposition.PARKED)
    ((_, key, value, headers),) = await lot.read(lot.source.parked, 1)
    assert (key, value, headers["h"]) == (b"t", b"{", b"1")
    assert headers["dia.replay.parked_for"] == b"why not"
    assert headers["dia.dlq.error_code"] == b"wrong_type"
    await _dispose(lot, ReplayDisposition.DISCARDED, actor="bob")
    assert set(lot.shown().values()) == {("discarded", 3, "bob")}
    assert len(await lot.read(lot.source.parked)) == 1


async def test_a_disposition_that_clickhouse_did_not_store_is_published_by_the_next_owner(
    lot, monkeypatch
):
    """An unreachable shard delays the row of a decision; it must not lose it."""
    await lot.bury(b"{", b"[")
    for shard in lot.shards.faults:
        shard.down = True
    monkeypatch.setattr(disposition_publisher, "_PAUSES_S", ())
    done = await _dispose(lot, ReplayDisposition.PARKED)
    assert (done.disposed, done.shown) == (2, False)
    assert lot.shown() == {}
    for shard in lot.shards.faults:
        shard.down = False
    done = await _dispose(lot, ReplayDisposition.PARKED)
    assert (done.disposed, done.unchanged, done.shown) == (0, 2, True)
    assert set(lot.shown().values()) == {("parked", 2, "ann")}
