"""Steps J1 to J6 of a job partition, one at a time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agents.app import SIMULATE_DECISION
from streams.core.clock import settle
from streams.core.errors import ProcessDied
from streams.core.topics.topic import SOURCE_MESSAGE_BYTES
from tests.unit.engine.runtime.job_desk import SETTINGS, SOURCE, Desk


@pytest.fixture
async def desk():
    made = Desk()
    await made.create_topics()
    await made.open()
    yield made
    await made.close()


async def test_the_committed_offset_is_that_of_the_oldest_unfinished_request(desk):
    """Otherwise a crash would lose requests that were read and not finished. The lag counts
    unfinished requests.
    """
    first, second, third = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second, third)
    await desk.commit()
    assert (desk.committed(), set(desk.results())) == (0, {second, third})
    counters = desk.partition.state.link.counters
    assert (counters.read, counters.applied) == (0, 0)
    await desk.finish(first)
    await desk.commit()
    counters = desk.partition.state.link.counters
    assert (desk.committed(), counters.read, counters.applied) == (3, 3, 3)


async def test_a_commit_names_the_requests_that_it_settles(desk):
    """A trace of a request leads to the commit that holds its answer."""
    first, second, _ = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second)
    await desk.commit()
    assert [desk.partition.settles(offset) for offset in range(3)] == [False, True, False]
    await desk.finish(first)
    await desk.commit()
    assert [desk.partition.settles(offset) for offset in range(3)] == [True, True, False]


async def test_after_a_crash_only_unfinished_work_runs_again(desk):
    """Requests above the prefix that were committed are skipped when they are read again."""
    first, second, third = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second)
    await desk.commit()
    await desk.finish(third)
    await desk.crash()
    await desk.read()
    await desk.finish(first)
    await desk.commit()
    assert desk.committed() == 3
    assert {name: found["summary"] for name, found in desk.results().items()} == {
        first: {"run": 4},
        second: {"run": 2},
        third: {"run": 5},
    }


async def test_repeats_get_results_of_their_own_with_the_summary_of_the_first(desk):
    """The first request runs once; repeats during the run, after it, or after a crash get its
    summary.
    """
    first, during = await desk.ask("k"), await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    after = await desk.ask("k", ts=desk.clock.now_ms() + 5, priority=9)
    await desk.read()
    await desk.commit()
    await desk.crash()
    later = await desk.ask("k")
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert set(results) == {first, during, after, later}
    assert {json.dumps(found["summary"]) for found in results.values()} == {'{"run": 1}'}
    counters = desk.partition.state.link.counters
    assert (counters.applied, counters.duplicates) == (1, 3)


async def test_a_key_with_another_payload_is_a_dead_letter_also_while_the_first_runs(desk):
    """The request must neither be merged with the first nor get its answer."""
    first = await desk.ask("k")
    await desk.ask("k", trials=2)
    await desk.read()
    await desk.finish(first)
    await desk.ask("k", parameters={"x": 1})
    await desk.read()
    await desk.commit()
    assert desk.dead() == ["idempotency_conflict"] * 2
    assert set(desk.results()) == {first}


async def test_a_key_is_new_again_after_its_time(desk):
    """The time counts from the append of the first request; repeats do not extend it."""
    first = await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    await desk.clock.advance(SETTINGS.dedupe_ttl_s + 1)
    again = await desk.ask("k", trials=7)
    await desk.read()
    await desk.finish(again)
    await desk.commit()
    assert desk.results()[again]["summary"] == {"run": 2}


async def test_reading_stops_at_the_bound_and_goes_on_when_the_prefix_moves(desk):
    """One request that takes an hour must not fill the memory with later ones."""
    asked = [await desk.ask(f"k{n}") for n in range(8)]
    await desk.read()
    assert (desk.partition.position, desk.partition.fill) == (5, 1.0)
    await desk.finish(*asked[1:5])
    await desk.read()
    assert desk.partition.position == 5
    await desk.finish(asked[0])
    await desk.read()
    assert desk.partition.position == 8


async def test_a_cancelled_request_and_its_canceller_are_both_answered(desk):
    """Both outcomes are in one commit. A finished or unknown request cannot be cancelled."""
    running, done = await desk.ask("running"), await desk.ask("done")
    await desk.read()
    await desk.finish(done)
    asked = [
        await desk.ask(f"c-{key}", scenario="cancel", parameters={"idempotency_key": key})
        for key in ("running", "done")
    ]
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert results[running]["status"] == "cancelled"
    assert results[running]["error"]["code"] == "cancelled"
    assert results[done]["status"] == "completed"
    assert [results[name]["summary"]["cancelled"] for name in asked] == [True, False]
    assert desk.committed() == 4


async def test_invalid_requests_are_dead_letters_and_do_not_hold_the_prefix(desk):
    """The prefix passes an invalid record between two requests like a finished one."""
    producer = desk.broker.plain_producer()
    await (await producer.send(SOURCE.topic, b"t", b"{"))
    first = await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    await desk.commit()
    assert (desk.dead(), desk.committed()) == (["invalid_json"], 2)
    assert desk.partition.state.link.counters.dead_by_code == {"invalid_json": 1}


async def test_hooks_are_called_after_the_commit(desk):
    """A hook's effect cannot be reverted, so the result must be committed first."""
    first, _ = await desk.ask("k"), await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    prepared = await desk.commit()
    assert desk.hand.told == []
    for tell in prepared.told:
        tell()
    assert desk.hand.told == [first]


async def test_a_bug_in_the_agent_stops_the_partition_with_nothing_half_done(desk, monkeypatch):
    """The request stays unfinished and runs again after the fix."""
    first = await desk.ask("k")
    await desk.read()
    broken = replace(SIMULATE_DECISION, answer=lambda event, outcome, place: 1 / 0)
    monkeypatch.setattr(desk.partition, "_jobs", broken)
    await desk.finish(first)
    assert desk.partition.failure.code == "agent_failed"
    assert not desk.partition.has_changes()


async def _give_up(desk, request_id):
    """Every attempt of the request ends with its process."""
    desk.hand.failing[request_id] = [ProcessDied("as told") for _ in range(3)]
    await desk.finish(request_id)
    loop = asyncio.ensure_future(desk.dispatcher.run())
    await settle()
    await desk.clock.advance(5.0)
    loop.cancel()


async def test_a_request_that_is_given_up_is_a_dead_letter_and_is_answered(desk):
    """The record is valid: it is kept in the DLQ for a replay, and its client gets an answer."""
    first = await desk.ask("k")
    await desk.read()
    await _give_up(desk, first)
    await desk.commit()
    result = desk.results()[first]
    assert (result["status"], result["error"]["code"]) == ("failed", "retries_exhausted")
    assert "process_died: as told" in result["error"]["message"]
    assert desk.dead() == ["retries_exhausted"]
    (letter,) = desk.letters()
    assert letter["dia.dlq.attempts"] == b"3"
    assert letter["dia.dlq.stage"] == b"process"
    assert desk.committed() == 1
    assert desk.partition.state.link.counters.dead_by_code == {"retries_exhausted": 1}


async def test_a_repeat_of_a_request_that_is_given_up_runs_in_its_place(desk):
    """The repeat is a new request and the cause may be gone; later repeats wait for it."""
    first, second, third = [await desk.ask("k") for _ in range(3)]
    await desk.read()
    await _give_up(desk, first)
    assert desk.hand.started == [first] * 3 + [second]
    await desk.finish(second)
    await desk.commit()
    results = desk.results()
    assert results[first]["status"] == "failed"
    assert results[second]["summary"] == results[third]["summary"] == {"run": 4}
    counters = desk.partition.state.link.counters
    assert (counters.applied, counters.duplicates, counters.dead) == (1, 1, 1)


async def _chain(desk):
    """Three requests of a key: the second repeats the first, the third only the second."""
    asked = [await desk.ask("k")]
    for pause_s in (SETTINGS.dedupe_ttl_s - 10, 20):
        await desk.clock.advance(pause_s)
        asked.append(await desk.ask("k"))
    await desk.read()
    return asked


async def test_a_request_waits_for_a_repeat_that_may_become_its_first(desk):
    """If the third ran at once and the first was then given up, two runs of the key would be
    committed within its time.
    """
    first, second, third = await _chain(desk)
    await desk.clock.advance(1.0)
    assert desk.hand.started == [first]
    await _give_up(desk, first)
    assert desk.hand.started == [first] * 3 + [second]
    await desk.finish(second)
    await desk.commit()
    results = desk.results()
    assert results[second]["summary"] == results[third]["summary"] == {"run": 4}
    counters = desk.partition.state.link.counters
    assert (counters.applied, counters.duplicates, counters.dead) == (1, 1, 1)


@pytest.mark.parametrize("trials", [1, 2])
async def test_a_request_that_waited_for_no_repeat_of_its_own_runs(desk, trials):
    """The second repeats the first, which has an outcome. The third, too late to repeat the first,
    is then a first request, whatever its payload.
    """
    first = await desk.ask("k")
    await desk.clock.advance(SETTINGS.dedupe_ttl_s - 10)
    second = await desk.ask("k")
    await desk.clock.advance(20)
    third, fourth = await desk.ask("k", trials=trials), await desk.ask("k", trials=trials)
    await desk.read()
    await desk.finish(first)
    assert desk.hand.started == [first, third]
    await desk.finish(third)
    await desk.commit()
    results = {name: found["summary"]["run"] for name, found in desk.results().items()}
    assert results == {first: 1, second: 1, third: 2, fourth: 2}


async def test_cancellations_that_wait_for_each_other_are_answered_without_room():
    """Requests are not held in memory here. The third cancellation repeats the second only, so it
    is judged after the first has ended, when there is nothing left to cancel.
    """
    desk = Desk(replace(SETTINGS, max_ahead=20, max_ahead_bytes=0))
    await desk.create_topics()
    await desk.open()
    target = await desk.ask("k")
    cancels = {"scenario": "cancel", "parameters": {"idempotency_key": "k"}}
    asked = [await desk.ask("c", **cancels)]
    for pause_s in (SETTINGS.dedupe_ttl_s - 10, 20):
        await desk.clock.advance(pause_s)
        asked.append(await desk.ask("c", **cancels))
    await desk.read()
    await settle(200)
    await desk.commit()
    assert desk.partition.failure is None
    results = desk.results()
    assert results[target]["status"] == "cancelled"
    cancelled = [results[request]["summary"]["cancelled"] for request in asked]
    assert cancelled == [True, True, False]
    await desk.close()


async def test_a_cancelled_request_stays_cancelled_without_room_for_its_outcome():
    """Its canceller got the answer `cancelled`. A dead letter of the request could be replayed and
    would then run.
    """
    desk = Desk(replace(SETTINGS, quota_outcome_bytes=1))
    await desk.create_topics()
    await desk.open()
    target = await desk.ask("k")
    await desk.read()
    cancels = {"scenario": "cancel", "parameters": {"idempotency_key": "k"}}
    canceller = await desk.ask("c", **cancels)
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert results[canceller]["summary"] == {"cancelled": True}
    assert results[target]["status"] == "cancelled"
    assert desk.dead() == []
    await desk.close()


async def test_the_key_of_a_request_that_is_given_up_is_not_remembered(desk):
    """The same request must run again instead of getting the old failure for an hour. As the key is
    not stored, another payload under it is no conflict.
    """
    first = await desk.ask("k")
    await desk.read()
    await _give_up(desk, first)
    await desk.commit()
    await desk.crash()
    other = await desk.ask("k", trials=7)
    await desk.read()
    await desk.finish(other)
    await desk.commit()
    assert desk.dead() == ["retries_exhausted"]
    assert desk.results()[other]["status"] == "completed"


async def test_a_replay_of_a_request_that_was_given_up_runs_and_is_answered(desk):
    """A replayed record is the same request at another offset, and it has no outcome yet."""
    first = await desk.ask("k")
    await desk.read()
    await _give_up(desk, first)
    await desk.commit()
    await desk.ask("k", request_id=first)
    await desk.read()
    assert desk.hand.started == [first] * 4
    await desk.finish(first)
    await desk.commit()
    assert desk.results()[first]["status"] == "completed"


async def test_the_lag_in_time_is_the_age_of_the_oldest_unfinished_request(desk):
    """An autoscaler uses it: answered traffic is no lag, and one request that waits for a minute is
    60 s.
    """
    assert desk.partition.behind_s(desk.clock.now_ms()) == 0
    for number in range(20):
        request = await desk.ask(f"k{number}")
        await desk.read()
        await desk.finish(request)
        await desk.commit()
        await desk.clock.advance(3.0)
        assert desk.partition.behind_s(desk.clock.now_ms()) == 0
    await desk.ask("slow")
    await desk.clock.advance(1.0)
    later = await desk.ask("quick")
    await desk.read()
    await desk.finish(later)
    await desk.clock.advance(60.0)
    assert desk.partition.behind_s(desk.clock.now_ms()) == 61.0


async def test_a_request_that_waited_for_one_given_up_is_judged_again(desk):
    """The broker's clock was ahead for the first request, so it did not count as a repeat. A
    request that waited for it repeats an older one, as it would after a crash.
    """
    first = await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    ahead_ms = 2 * SETTINGS.dedupe_ttl_s * 1000
    desk.clock.jump_wall(ahead_ms)
    second = await desk.ask("k")
    desk.clock.jump_wall(-ahead_ms)
    third = await desk.ask("k")
    await desk.read()
    await _give_up(desk, second)
    await desk.commit()
    results = desk.results()
    assert results[second]["error"]["code"] == "retries_exhausted"
    assert results[third]["summary"] == results[first]["summary"] == {"run": 1}
    assert desk.committed() == 3


@pytest.mark.parametrize("result", [b"x" * SOURCE_MESSAGE_BYTES, "text"], ids=["large", "text"])
async def test_a_result_that_no_record_can_hold_is_a_dead_letter(desk, result):
    """No commit could hold it: each would fail, and with it the results of all tenants."""
    jobs = desk.partition._jobs

    def unfit(event, outcome, place):
        answer = jobs.answer(event, outcome, place)
        return answer._replace(result=result) if event.tenant_id == "a" else answer

    desk.partition._jobs = replace(jobs, answer=unfit)
    first, second = await desk.ask("k", tenant_id="a"), await desk.ask("l", tenant_id="b")
    await desk.read()
    await desk.finish(first, second)
    await desk.commit()
    assert (desk.committed(), set(desk.results())) == (2, {second})
    assert desk.dead() == ["value_refused"]
