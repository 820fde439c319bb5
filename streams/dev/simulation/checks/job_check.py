"""Checks the results of all requests from the logs alone.

The source log decides which requests are first, repeats or conflicts. A given-up request (random;
listed in the DLQ) is not remembered, so the next one of its key is first again; a conflict that
came while it ran may be either.

Required: a result for every request without a dead letter, an error for each given-up one, equal
results for all of a first one, and distinct runs of two firsts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.app import SIMULATION_REQUEST, SIMULATION_RESULT
from streams.connect.sinks.memory_replica import Row
from streams.core.settings import Settings
from streams.core.types import RecordBatch, TopicPartition
from streams.dev.simulation.checks.comparison import (
    check_dead_letters,
    check_end,
    check_ledger,
    with_buried,
)
from streams.dev.simulation.checks.truth import Expected
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.world import Difference, World
from streams.operate.audit.log_age import LogAge

_EVERYTHING = 1 << 30
_FIELDS = ("request_id", "idempotency_key", "tenant_id", "model_id", "scenario")
_GIVEN_UP = "retries_exhausted"
_CONFLICT = "idempotency_conflict"
ATTEMPTS_MAX = 3
_SAID = ("model_id", "policy_id", "scenario", "trials", "seed", "parameters")


@dataclass(slots=True)
class _Asked:
    """A request without a dead letter: its place, and the first request of its key."""

    part: int
    offset: int
    first: str
    event: dict[str, Any]


@dataclass(slots=True)
class _Requests:
    expected: Expected = field(default_factory=Expected)
    asked: dict[str, _Asked] = field(default_factory=dict)
    """by request_id"""
    given_up: set[str] = field(default_factory=set)
    """request ids"""
    lost: set[tuple[str, str]] = field(default_factory=set)
    """tenants and keys of requests whose answer is a row of an unknown table"""


def check(world: World, witness: Witness, *, over: bool) -> None:
    """Raises `Difference`. At any quiet moment everything is answered."""
    del over
    requests = _Requests()
    results: list[dict[str, Any]] = []
    buried: list[Row] = []
    for partition in range(world.partitions):
        tp = TopicPartition(SIMULATION_REQUEST.name, partition)
        log = world.broker.log(tp).readable()
        _judge(log, world.settings, _letters(world, tp), requests)
        buried += check_dead_letters(world, tp, requests.expected)
        check_end(world, witness, tp)
        result_log = world.broker.log(TopicPartition(SIMULATION_RESULT.name, partition))
        values = result_log.read_committed(0, _EVERYTHING).values
        results += [json.loads(value or b"") for value in values]
    check_ledger(world, SIMULATION_REQUEST.name, requests.expected, buried)
    _check_results(requests, results)
    rows = {row["request_id"]: row for row in with_buried(world, "simulations", buried)}
    _check_rows(rows, requests, {result["request_id"]: result for result in results})


def _letters(world: World, tp: TopicPartition) -> dict[str, str]:
    dlq = TopicPartition(SIMULATION_REQUEST.dlq, tp.partition)
    found: dict[str, str] = {}
    for headers in world.broker.log(dlq).read_committed(0, _EVERYTHING).headers:
        said = {name: raw.decode() for name, raw in headers}
        code = found[said["dia.dlq.id"]] = said["dia.dlq.error_code"]
        attempts = int(said["dia.dlq.attempts"])
        if attempts > ATTEMPTS_MAX or (code != _GIVEN_UP and attempts != 1):
            raise Difference(f"{said['dia.dlq.id']}: {code} after {attempts} attempts")
    return found


def _judge(
    batch: RecordBatch, settings: Settings, letters: Mapping[str, str], requests: _Requests
) -> None:
    expected, partition = requests.expected, batch.tp.partition
    firsts: dict[tuple[str, str], tuple[int, int, str, str]] = {}
    failed: dict[tuple[str, str], list[str]] = defaultdict(list)
    ttl_ms = settings.dedupe_ttl_s * 1000
    age = LogAge(ttl_ms)
    rows = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, strict=True)
    for offset, append_ms, key, value in rows:
        expected.read[partition] += 1
        age.read(append_ms)
        event = _event(key, value)
        if event is None or not _in_time(event["ts"], append_ms, settings):
            expected.dead.add(f"{batch.tp}/{offset}")
            continue
        name = (event["tenant_id"], event["idempotency_key"])
        if "lost" in event["parameters"]:  # whatever else applies
            expected.dead.add(f"{batch.tp}/{offset}")
            requests.lost.add(name)
            continue
        said = json.dumps([event.get(part) for part in _SAID])
        known = firsts.get(name)
        fresh = known is None or append_ms - known[0] > ttl_ms or age.forgets(known[1])
        letter = letters.get(f"{batch.tp}/{offset}", "")
        if fresh and letter == _GIVEN_UP:
            expected.dead.add(f"{batch.tp}/{offset}")
            requests.given_up.add(event["request_id"])
            requests.asked[event["request_id"]] = _Asked(
                partition, offset, event["request_id"], event
            )
            failed[name].append(said)
            continue
        if letter == _CONFLICT and any(other != said for other in failed[name]):
            expected.dead.add(f"{batch.tp}/{offset}")
            continue
        if known is None or fresh:
            known = firsts[name] = (append_ms, age.now, said, event["request_id"])
            expected.applied[partition] += 1
        elif known[2] != said:
            expected.dead.add(f"{batch.tp}/{offset}")
            continue
        requests.asked[event["request_id"]] = _Asked(partition, offset, known[3], event)


def _in_time(ts_ms: int, append_ms: int, settings: Settings) -> bool:
    late_ms, future_ms = settings.late_max_s * 1000, settings.future_max_s * 1000
    return append_ms - late_ms <= ts_ms <= append_ms + future_ms


def _event(key: bytes | None, value: bytes | None) -> dict[str, Any] | None:
    try:
        event = json.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(event, dict) or not all(name in event for name in _FIELDS):
        return None
    return event if key == event["tenant_id"].encode() else None


def _check_results(requests: _Requests, results: list[dict[str, Any]]) -> None:
    counted = Counter(result["request_id"] for result in results)
    if counted != Counter(requests.asked.keys()):
        lost, extra = requests.asked.keys() - counted, counted - Counter(requests.asked.keys())
        raise Difference(f"no result of {sorted(lost)}, unexpected {sorted(extra.elements())}")
    by_first: dict[str, dict[str, Any]] = {}
    for result in results:
        first = requests.asked[result["request_id"]].first
        outcome = {name: part for name, part in result.items() if name != "request_id"}
        given_up = result["request_id"] in requests.given_up
        if given_up != ((result.get("error") or {}).get("code") == _GIVEN_UP):
            raise Difference(f"{result}, given up: {given_up}")
        if by_first.setdefault(first, outcome) != outcome:
            raise Difference(f"{result['request_id']}: {outcome}, but {first}: {by_first[first]}")
    runs = Counter(_run(outcome) for outcome in by_first.values())
    if twice := [run for run, count in runs.items() if run is not None and count > 1]:
        raise Difference(f"runs {twice} answer two keys")
    _check_cancelled(requests, by_first)


def _run(outcome: dict[str, Any]) -> int | None:
    run: int | None = outcome["summary"].get("run")
    return run


def _check_cancelled(requests: _Requests, by_first: dict[str, dict[str, Any]]) -> None:
    """Each cancelled request has a cancellation, and its client the answer."""
    told = {
        (asked.event["tenant_id"], asked.event["parameters"]["idempotency_key"])
        for request_id, asked in requests.asked.items()
        if asked.first == request_id and by_first[request_id]["summary"].get("cancelled")
    }
    cancelled = {
        (outcome["tenant_id"], outcome["idempotency_key"])
        for outcome in by_first.values()
        if outcome["status"] == "cancelled"
    }
    told -= requests.lost
    if told != cancelled:
        raise Difference(f"cancelled {sorted(cancelled)}, told {sorted(told)}")


def _check_rows(
    rows: dict[str, Row], requests: _Requests, results: dict[str, dict[str, Any]]
) -> None:
    if rows.keys() != requests.asked.keys():
        raise Difference(
            f"simulations rows differ by {sorted(rows.keys() ^ requests.asked.keys())}"
        )
    for request_id, asked in requests.asked.items():
        row, result = rows[request_id], results[request_id]
        found = (row["part"], row["off"], bool(row["repeated"]), row["status"])
        wanted = (asked.part, asked.offset, asked.first != request_id, result["status"])
        if found != wanted or json.loads(row["summary"]) != result["summary"]:
            raise Difference(f"row {row}, expected {wanted} and {result['summary']}")
