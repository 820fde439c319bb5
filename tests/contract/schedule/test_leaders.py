"""Leader election of scheduled jobs, on the in-memory and on a real broker."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import app
from streams.connect.broker.opened import opened
from streams.engine.schedule.job import Findings
from streams.engine.schedule.journal import Entry, record, schedule_of
from streams.engine.schedule.term import leader_id


def _ended(journal):
    return [entry for entry in journal if entry.kind == "ended"]


@pytest.mark.on_kafka
async def test_one_of_two_leads_and_the_other_takes_over(electorate):
    """One leader runs the job, however many processes could; the next leader continues with the
    next run number."""
    electorate.add_candidate("a")
    electorate.add_candidate("b")
    first = await electorate.leader()
    before = await electorate.until(lambda journal: len(_ended(journal)) >= 2)
    assert {name for name, _ in electorate.began} == {first}
    assert electorate.beside == {first}
    await electorate.leave(first)
    assert electorate.beside == set()
    second = await electorate.leader()
    after = await electorate.until(lambda journal: len(_ended(journal)) >= len(_ended(before)) + 2)
    assert second != first
    assert electorate.beside == {second}
    assert [entry.kind for entry in after[:1]] == ["heard_of"]
    began = [entry.run for entry in after if entry.kind == "began"]
    assert began == list(range(1, len(began) + 1))


@pytest.mark.on_kafka
async def test_a_fenced_leader_neither_ends_a_run_nor_keeps_leading(electorate):
    """A leader that was paused during an election does not know that it lost its lease: its writes must be
    refused."""
    working, go_on = asyncio.Event(), asyncio.Event()

    async def work(run: int) -> Findings:
        working.set()
        await go_on.wait()
        return Findings(7, {})

    electorate.add_candidate("a", work)
    async with asyncio.timeout(200):
        await working.wait()
    successor = electorate.broker.transactional_producer(leader_id(app.topology))
    await successor.start()
    go_on.set()
    async with asyncio.timeout(200):
        while electorate.leads("a"):  # noqa: ASYNC110 - a gauge notifies no waiter
            await asyncio.sleep(0.05)
    assert _ended(await electorate.journal()) == []
    await successor.close()


async def test_findings_of_a_run_are_exported_by_its_leader_and_by_the_next(electorate):
    """An alert must not resolve because a leader died."""

    async def work(run: int) -> Findings:
        return Findings(3, {"differences": ["rows = applied: model.metrics/1"]})

    electorate.interval_s = 3600.0
    electorate.add_candidate("a", work)
    (heard,) = await electorate.until(lambda journal: len(journal) == 1)
    assert (heard.kind, heard.run) == ("heard_of", 0)
    await electorate.leave("a")
    electorate.interval_s = 0.2
    electorate.add_candidate("b", work)
    (ended, *_) = _ended(await electorate.until(_ended))
    assert (ended.run, ended.found, ended.detail["differences"]) == (
        1,
        3,
        ["rows = applied: model.metrics/1"],
    )
    await electorate.leave("b")
    assert _found(electorate, "b") is None, "a former leader still exports findings"
    electorate.interval_s = 3600.0
    electorate.add_candidate("c", work)
    assert await electorate.leader() == "c"
    assert _found(electorate, "c") == 3


def _found(electorate, name):
    registry = electorate.metrics[name].registry
    return registry.get_sample_value("dia_schedule_findings", {"job": electorate.job})


@pytest.mark.on_kafka
async def test_an_uncommitted_entry_is_ignored(electorate):
    """A leader that dies inside a transaction leaves no entry for the next one."""
    dead = electorate.broker.transactional_producer(leader_id(app.topology))
    await dead.start()
    await dead.begin()
    entry = Entry(job=electorate.job, run=41, kind="began", at_ms=0, leader="nobody")
    await (await dead.send(record(schedule_of(app.topology), entry)))
    electorate.add_candidate("a")
    journal = await electorate.until(_ended)
    assert [entry.run for entry in _ended(journal)][:1] == [1]
    assert all(entry.leader != "nobody" for entry in journal)
    await dead.close()


@pytest.mark.on_kafka
async def test_a_candidate_that_does_not_return_leaves_its_group(electorate):
    """Its group would rebalance only when its session is over, and the leader would change once more."""

    async def members():
        async with opened(electorate.broker.admin()) as admin:
            described = await admin.describe_group(app.topology.leader_group)
        return {one.member_id for one in described.members}

    before = await members()
    electorate.add_candidate("a", leaves=True)
    await electorate.leader()
    assert await members() - before
    await electorate.leave("a")
    assert await members() <= before
