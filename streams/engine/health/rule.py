"""The health rule: findings and verdict of an observation. It makes no requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from streams.core.degradation.level import Level, Standing
from streams.core.types import TopicPartition
from streams.engine.health.finding import HealthFinding, Severity
from streams.engine.health.live_workers import standing
from streams.engine.health.observation import Observation, SourceObservation

START_WORKERS: Final = "dia worker"
STALL_S: Final = 300.0
"""longer than any job, and than a shard's outage delays a commit"""
_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """``lag_records``: None unless the lag of every declared partition is known."""

    at_ms: int
    verdict: Severity
    findings: tuple[HealthFinding, ...]
    lag_records: int | None
    partitions: tuple[dict[str, Any], ...]
    degradation: Standing | None
    """of the worst known worker; None without one"""

    def fields(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.word,
            "at_ms": self.at_ms,
            "lag_records": self.lag_records,
            "findings": [finding.fields() for finding in self.findings],
            "partitions": list(self.partitions),
        }


def judge(observed: Observation) -> Health:
    """The worst findings come first."""
    findings = [finding for rule in RULES for finding in rule(observed)]
    findings.sort(key=lambda one: (-one.severity, one.code, one.subject))
    rows = [row for source in observed.sources for row in _rows(source)]
    known = [row["lag"] for row in rows if row["lag"] is not None]
    complete = len(known) == len(rows) and all(
        source.logs is not None for source in observed.sources
    )
    return Health(
        at_ms=observed.at_ms,
        verdict=max((one.severity for one in findings), default=Severity.HEALTHY),
        findings=tuple(findings),
        lag_records=sum(known) if complete else None,
        partitions=tuple(rows),
        degradation=standing(observed.workers),
    )


def _rows(source: SourceObservation) -> Iterator[dict[str, Any]]:
    group, topic = source.source
    for partition, log in sorted((source.logs or {}).items()):
        yield {
            "group": group,
            "topic": topic,
            "partition": partition,
            "lag": source.lag(partition),
            "committed": (source.committed or {}).get(partition),
            "end": log.stable_end,
            "owner": source.owner(partition),
        }


def unknown_sources(observed: Observation) -> Iterator[HealthFinding]:
    if not observed.sources:
        yield HealthFinding(
            code="nothing_declared",
            severity=Severity.UNKNOWN,
            subject="agents",
            detail="no agent is declared, so nothing was asked",
        )
    for source in observed.sources:
        if source.logs is None or source.committed is None or source.group is None:
            yield HealthFinding(
                code="lag_unknown",
                severity=Severity.UNKNOWN,
                subject=source.source.topic,
                detail=f"lag of group {source.source.group} is unknown",
                mend="dia doctor",
                reason=source.why,
            )


def absent_topics(observed: Observation) -> Iterator[HealthFinding]:
    """A declared source that does not exist. Red if a group reads it or other sources exist: it was
    deleted. Otherwise the cluster is not prepared yet."""
    prepared = any(source.logs for source in observed.sources)
    for source in observed.sources:
        if source.logs == {}:
            read = prepared or (source.group is not None and bool(source.group.members))
            yield HealthFinding(
                code="topic_absent",
                severity=Severity.RED if read else Severity.WARNING,
                subject=source.source.topic,
                detail="the topic does not exist",
                mend="dia topics apply",
            )


def unread_partitions(observed: Observation) -> Iterator[HealthFinding]:
    for source in observed.sources:
        if not source.logs or source.committed is None or source.group is None:
            continue
        if not source.group.stable:
            yield _finding(
                source, "group_rebalancing", Severity.WARNING, "is rebalancing: owners are unknown"
            )
        elif not source.group.members:
            yield from _without_owner(source, sorted(source.logs), "group_dead", "has no members")
        else:
            bare = [one for one in sorted(source.logs) if source.owner(one) is None]
            waiting = "does not read them: no member is assigned"
            yield from _without_owner(source, bare, "partition_unowned", waiting)


def _without_owner(
    source: SourceObservation, partitions: Sequence[int], code: str, why: str
) -> Iterator[HealthFinding]:
    if not partitions:
        return
    lags = {one: source.lag(one) or 0 for one in partitions}
    waiting = [one for one, lag in lags.items() if lag]
    if waiting:
        detail = f"{why}; {sum(lags.values()):,} unread records in {_named(waiting)}"
        yield _finding(source, code, Severity.RED, detail, START_WORKERS)
    else:
        detail = f"{why}; {_named(partitions)} have no unread records"
        yield _finding(source, code, Severity.WARNING, detail, START_WORKERS)


def impossible_offsets(observed: Observation) -> Iterator[HealthFinding]:
    """A committed offset outside its log: records expired unread, or it is another log."""
    for source in observed.sources:
        if not source.logs or source.committed is None:
            continue
        for partition, offset in sorted(source.committed.items()):
            log = source.logs.get(partition)
            if log is None:
                continue
            if offset < log.begin:
                yield _finding(
                    source,
                    "source_truncated",
                    Severity.RED,
                    f"has not read offsets {offset} to {log.begin - 1} of partition {partition}, "
                    "which are no longer in the log",
                    "dia tables list",
                )
            elif offset > log.stable_end:
                yield _finding(
                    source,
                    "committed_past_end",
                    Severity.RED,
                    f"committed offset {offset} of partition {partition}, whose log ends at "
                    f"{log.stable_end}: the topic was truncated or recreated",
                    "dia tables list",
                )


def never_read(observed: Observation) -> Iterator[HealthFinding]:
    """Partitions that lost records before the group's first commit. Lag counts only what the log
    has, so it does not show them."""
    for source in observed.sources:
        if source.committed is None:
            continue
        gone = {
            partition: log.begin
            for partition, log in sorted((source.logs or {}).items())
            if log.begin > 0 and partition not in source.committed
        }
        bare = [partition for partition in gone if source.owner(partition) is None]
        for severity, found in (
            (Severity.RED, bare),
            (Severity.WARNING, [one for one in gone if one not in bare]),
        ):
            if found:
                detail = (
                    f"has never committed in {_named(found)}, and records expired unread: all "
                    f"below offset {gone[found[0]]} of partition {found[0]}"
                )
                mend = START_WORKERS if severity is Severity.RED else "dia tables list"
                yield _finding(source, "expired_unread", severity, detail, mend)


_WAYS_OUT: Final = dict.fromkeys(
    ("batch_unreadable", "source_not_log_append_time"), "dia shed plan --unreadable --topic {topic}"
)
"""next commands by code, if not the usual one"""
CLOCKS_APART_MAX_S: Final = 5.0
"""clocks kept by NTP differ by milliseconds"""
HELD_BACK_MAX_S: Final = 60.0
"""twice the transaction timeout of dia's producers"""


def stopped_partitions(observed: Observation) -> Iterator[HealthFinding]:
    for worker, held in observed.held:
        if held.get("stopped_by"):
            yield HealthFinding(
                code="partition_stopped",
                severity=Severity.RED,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"worker {worker.slot} stopped it: {held['stopped_by']}",
                mend=_WAYS_OUT.get(held["stopped_by"], "dia tables list").format_map(held),
            )


def silent_workers(observed: Observation) -> Iterator[HealthFinding]:
    """Workers whose last report is old. It says nothing of what came since: they may have stopped a
    partition, or have no room on their disk."""
    for worker in observed.workers:
        if worker.silent:
            yield HealthFinding(
                code="worker_silent",
                severity=Severity.UNKNOWN,
                subject=f"worker {worker.slot}",
                detail=f"it has not reported for {worker.silent_s:.0f} s: its state folder takes no "
                "writes, or it hangs",
                mend="dia doctor",
            )


def waiting_partitions(observed: Observation) -> Iterator[HealthFinding]:
    """Partitions whose owner retries to open them, or waits for the schema registry."""
    for worker, held in observed.held:
        if held.get("waits_for") and not held.get("stopped_by"):
            ready = held.get("phase") == "ready"
            verb = "reads no record of it" if ready else "cannot open it"
            yield HealthFinding(
                code="partition_held" if ready else "partition_not_ready",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"worker {worker.slot} {verb}: {held['waits_for']}",
                mend="dia config show" if ready else "dia topics plan",
            )


def stalled_partitions(observed: Observation) -> Iterator[HealthFinding]:
    """Partitions with unread records and no commit for `STALL_S`: the owner hangs, or its group
    keeps rebalancing."""
    for source in observed.sources:
        stalls = {
            partition: observed.stalls.get(
                (source.source.group, TopicPartition(source.source.topic, partition)), 0.0
            )
            for partition in source.logs or ()
            if source.owner(partition) is not None or _rebalances(source)
        }
        still = sorted(partition for partition, age_s in stalls.items() if age_s >= STALL_S)
        if still:
            age_s = max(stalls[partition] for partition in still)
            detail = (
                f"has committed nothing for {age_s:.0f} s in {_named(still)}, with records unread"
            )
            yield _finding(source, "partition_stalled", Severity.RED, detail, "dia status")


def _rebalances(source: SourceObservation) -> bool:
    return source.group is not None and not source.group.stable


def unproven_partitions(observed: Observation) -> Iterator[HealthFinding]:
    """Unread records in partitions of members without a known worker: such a member may have
    stopped the partition. Only a history (stall.py) can tell."""
    known = {(held["group"], held["topic"], held["partition"]) for _, held in observed.held}
    for source in observed.sources:
        group, topic = source.source
        unproven = [
            partition
            for partition in sorted(source.logs or ())
            if source.lag(partition)
            and source.owner(partition) is not None
            and (group, topic, partition) not in known
            and (group, TopicPartition(topic, partition)) not in observed.stalls
        ]
        if unproven:
            detail = (
                f"has unread records in {_named(unproven)}, held by unknown workers: one "
                "observation cannot tell whether they are read"
            )
            yield _finding(source, "progress_unproven", Severity.WARNING, detail, "dia console")


def departed_owners(observed: Observation) -> Iterator[HealthFinding]:
    """A worker of this host that ended holds its partitions until its session expires; their
    records wait or it returns."""
    prefix = observed.local_members
    if prefix is None:
        return
    slots = {str(worker.slot) for worker in observed.workers}
    for source in observed.sources:
        held = {
            partition: owner.removeprefix(prefix).partition("-")[0]
            for partition in source.logs or ()
            if (owner := source.owner(partition)) is not None and owner.startswith(prefix)
        }
        left = sorted(partition for partition, slot in held.items() if slot not in slots)
        if left:
            detail = f"has a member of this host that is not running and holds {_named(left)}"
            yield _finding(source, "owner_gone", Severity.WARNING, detail, START_WORKERS)


def paused_partitions(observed: Observation) -> Iterator[HealthFinding]:
    for worker, held in observed.held:
        if held.get("paused"):
            yield HealthFinding(
                code="partition_paused",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"worker {worker.slot} takes no records: a buffer is full, or a dependency "
                "is away",
                mend="dia doctor",
            )


def quarantined_tenants(observed: Observation) -> Iterator[HealthFinding]:
    for _, held in observed.held:
        if count := held.get("quarantined"):
            yield HealthFinding(
                code="tenant_quarantined",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"most records of {count} tenant{'s' if count > 1 else ''} are bad: they "
                f"become dead letters at a bounded rate",
                mend="dia dlq breaker list",
            )


def letters_over_quota(observed: Observation) -> Iterator[HealthFinding]:
    for _, held in observed.held:
        if over := held.get("letters_over_quota"):
            named = ", ".join(name or "unreadable" for name in over["tenants"])
            more = f" and {over['more']} more" if over["more"] else ""
            yield HealthFinding(
                code="letters_over_quota",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"more dead letters than DIA_QUOTA_LETTERS of {named}{more}: further ones "
                "point to their record, which the topic deletes after its retention",
                mend="dia dlq stats --since 1h --by error --by tenant",
            )


def held_windows(observed: Observation) -> Iterator[HealthFinding]:
    for _, held in observed.held:
        for owner in held.get("held_windows") or ():
            whose = f"of tenant {owner['tenant']}" if owner["tenant"] else "without a tenant"
            yield HealthFinding(
                code="windows_held",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"{owner['windows']} windows of table {owner['table']} {whose} do not "
                f"close, {owner['code']}: {owner['why']}",
                mend="dia tables windows drop",
            )


def held_back_partitions(observed: Observation) -> Iterator[HealthFinding]:
    for _, held in observed.held:
        held_s = held.get("held_back_s") or 0.0
        if held_s > HELD_BACK_MAX_S:
            yield HealthFinding(
                code="transaction_open",
                severity=Severity.WARNING,
                subject=f"{held['topic']}/{held['partition']}",
                detail=f"a producer's transaction has been open for {held_s:.0f} s: nothing "
                f"behind its first record can be read",
                mend=f"kafka-transactions.sh find-hanging --topic {held['topic']}",
            )


def moved_offsets(observed: Observation) -> Iterator[HealthFinding]:
    """Partitions whose owner has committed further than the group's offset. Workers were asked
    before the broker, so the offset was moved or lost."""
    for source in observed.sources:
        if source.committed is None:
            continue
        reached = {
            held["partition"]: held.get("next_offset") or 0
            for _, held in observed.held
            if (held["group"], held["topic"]) == source.source
        }
        for partition, offset in sorted(reached.items()):
            committed = source.committed.get(partition)
            if partition in (source.logs or ()) and offset > (committed or 0):
                found = "no offset" if committed is None else f"offset {committed}"
                yield _finding(
                    source,
                    "group_offset_moved",
                    Severity.WARNING,
                    f"has {found} committed in partition {partition}, but its state is at "
                    f"{offset}: the offset was reset or deleted. No record is read twice; the lag "
                    "is wrong until the next record, or a restart of the worker, sets the offset "
                    "again",
                    "dia audit",
                )


def clocks_apart(observed: Observation) -> Iterator[HealthFinding]:
    for worker in observed.workers:
        gaps = [held.get("clock_ahead_s") or 0.0 for held in worker.partitions]
        ahead_s = max(gaps, key=abs, default=0.0)
        if abs(ahead_s) > CLOCKS_APART_MAX_S:
            where = "ahead of" if ahead_s > 0 else "behind"
            yield HealthFinding(
                code="clocks_apart",
                severity=Severity.WARNING,
                subject=f"worker {worker.slot}",
                detail=f"its clock is {abs(ahead_s):.0f} s or more {where} a broker's: ages, "
                f"freshness and lag in seconds are wrong by as much",
                mend="timedatectl timesync-status",
            )


def degraded_workers(observed: Observation) -> Iterator[HealthFinding]:
    stands = standing(observed.workers)
    for cause in stands.causes if stands is not None else ():
        yield HealthFinding(
            code="degraded",
            severity=Severity.RED if cause.level >= Level.MINIMAL else Severity.WARNING,
            subject=cause.signal,
            detail=f"level {cause.level}: {cause.why}",
            mend="dia doctor",
        )


Rule: TypeAlias = Callable[[Observation], Iterable[HealthFinding]]

RULES: Final[tuple[Rule, ...]] = (
    unknown_sources,
    absent_topics,
    unread_partitions,
    departed_owners,
    impossible_offsets,
    never_read,
    stalled_partitions,
    unproven_partitions,
    stopped_partitions,
    silent_workers,
    waiting_partitions,
    paused_partitions,
    quarantined_tenants,
    letters_over_quota,
    held_windows,
    held_back_partitions,
    moved_offsets,
    clocks_apart,
    degraded_workers,
)


def _finding(
    source: SourceObservation, code: str, severity: Severity, detail: str, mend: str = ""
) -> HealthFinding:
    detail = f"group {source.source.group} {detail}"
    return HealthFinding(
        code=code, severity=severity, subject=source.source.topic, detail=detail, mend=mend
    )


def _named(partitions: Sequence[int]) -> str:
    shown = ", ".join(map(str, partitions[:_SHOWN_MAX]))
    more = len(partitions) - _SHOWN_MAX
    return f"partition{'s' if len(partitions) > 1 else ''} {shown}" + (
        f" and {more} more" if more > 0 else ""
    )
