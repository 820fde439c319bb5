"""Health: green needs a complete answer, and an unknown number is not zero."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.core.topics.topology import DeclaredSource
from streams.core.types import GroupDescription, LogBounds, MemberDescription, TopicPartition
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation, SourceObservation
from streams.engine.health.rule import judge

OFFSETS = st.integers(0, 5)


@st.composite
def sources(draw: st.DrawFn, number: int) -> SourceObservation:
    """One source; each of its three answers may be missing."""
    topic = f"topic-{number}"
    partitions = range(draw(st.integers(0, 3)))
    logs = {}
    for partition in partitions:
        begin = draw(OFFSETS)
        logs[partition] = LogBounds(begin, begin + draw(OFFSETS))
    committed = {one: draw(OFFSETS) for one in partitions if draw(st.booleans())}
    owned = frozenset(TopicPartition(topic, one) for one in partitions if draw(st.booleans()))
    members = (MemberDescription("m", "", owned),) if draw(st.booleans()) else ()
    group = GroupDescription("g", stable=draw(st.booleans()), members=members)
    return SourceObservation(
        source=DeclaredSource("g", topic),
        logs=draw(st.sampled_from([logs, None])),
        committed=draw(st.sampled_from([committed, None])),
        group=draw(st.sampled_from([group, None])),
        why="not asked",
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    found = tuple(draw(sources(number)) for number in range(draw(st.integers(0, 3))))
    stopped = draw(st.sampled_from([None, "changelog_gap"]))
    held = {"group": "g", "topic": "topic-0", "partition": 0, "stopped_by": stopped}
    silent_s = draw(st.sampled_from([0.0, 100.0]))
    worker = LiveWorker(pid=1, slot=0, partitions=[held], silent_s=silent_s)
    workers = (worker,) if draw(st.booleans()) else ()
    return Observation(at_ms=0, sources=found, workers=workers)


@given(observations())
def test_healthy_requires_all_answers_and_no_unread_records(observed):
    """Operators act on the verdict: a missing answer must not make it green."""
    health = judge(observed)
    if health.verdict is not Severity.HEALTHY:
        return
    assert observed.sources
    for source in observed.sources:
        assert source.logs
        assert source.committed is not None
        assert source.group is not None
        for partition, log in source.logs.items():
            assert source.owner(partition) is not None
            assert source.committed.get(partition, 0) <= log.stable_end
            assert partition in source.committed or log.begin == 0
            place = {"group": "g", "topic": source.source.topic, "partition": partition}
            held = [one for worker in observed.workers for one in worker.partitions]
            known = any(place.items() <= one.items() for one in held)
            assert known or not source.lag(partition)
    assert not any(one.silent for one in observed.workers)
    assert not any(held["stopped_by"] for one in observed.workers for held in one.partitions)


@given(observations())
def test_the_lag_is_a_number_only_if_every_lag_is_known(observed):
    """A sum over the answers at hand would count a missing one as 0."""
    health = judge(observed)
    unknown = any(
        one.logs is None or (one.logs and one.committed is None) for one in observed.sources
    )
    assert (health.lag_records is None) == unknown
    if health.lag_records is not None:
        assert health.lag_records == sum(row["lag"] for row in health.partitions)


@given(observations(), st.data())
def test_unread_records_without_an_owner_are_red(observed, data):
    """The case for which the rule exists, regardless of the other findings."""
    silent = GroupDescription("g", stable=True, members=())
    dead = SourceObservation(
        source=DeclaredSource("g", "dead"),
        logs={0: LogBounds(0, data.draw(st.integers(1, 20_000)))},
        committed={},
        group=silent,
    )
    health = judge(replace(observed, sources=(*observed.sources, dead)))
    assert health.verdict is Severity.RED
    assert ("group_dead", "dead") in {(one.code, one.subject) for one in health.findings}


@given(observations(), st.sampled_from(["logs", "committed", "group"]))
def test_a_missing_answer_is_not_green(observed, answer):
    """Whichever of the questions failed."""
    if not observed.sources:
        return
    first, *rest = observed.sources
    health = judge(replace(observed, sources=(replace(first, **{answer: None}), *rest)))
    assert health.verdict >= Severity.UNKNOWN


@given(observations())
def test_the_verdict_is_the_worst_finding(observed):
    """Pages that show findings and pages that show the verdict must agree."""
    health = judge(observed)
    severities = [one.severity for one in health.findings]
    assert health.verdict == max(severities, default=Severity.HEALTHY)
    assert severities == sorted(severities, reverse=True)
