"""A row refused by a shard or sink, as a dead letter of stage ``sink``.

Its value is the row as JSON, to be inserted after a fix. Its id names the row's place in the
changelog and a hash of the row's key. A refused row of `dead_letters` gets none: its dead letter is
in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from streams.core.records.bad_records import RowRefused
from streams.core.rows.built_in_tables import FactRows, WindowRows, offset_of
from streams.core.rows.row_json import row_json
from streams.core.types import TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.effects.dead_letters import DeadLetter, Failure, Origin, dead_letter
from streams.engine.runtime.restore.state import PartitionState
from streams.engine.state.placements import first_days

_WINDOW_KEY = ("tenant", "model", "metric", "w", "part", "inc")


class RefusedFact(NamedTuple):
    table: str
    """or sink"""
    row: Mapping[str, Any]
    reason: str
    place: str = ""
    """position in a sink's batches: equal rows of a sink are distinct, those of a table are one
    row"""


def refused_facts(rows: FactRows, indexes: Sequence[int], reason: str) -> list[RefusedFact]:
    return [
        RefusedFact(rows.table, {name: column[i] for name, column in rows.columns.items()}, reason)
        for i in indexes
    ]


class Owing(NamedTuple):
    """The partition that owed a row. ``changelog_offset``: the row's last place in the changelog.
    ``last_offset``: the last consumed record. ``first_days``: of its later shard maps."""

    tp: TopicPartition
    changelog: TopicPartition
    changelog_offset: int
    last_offset: int
    agent: str
    group: str
    first_days: tuple[int, ...] = ()


def refused_window(
    agent: Agent, state: PartitionState, rows: WindowRows, reason: str, now_ms: int
) -> DeadLetter:
    row = _as_dict(rows)
    key = [row[name] for name in _WINDOW_KEY]
    offset = offset_of(int(rows.ver[0]))
    refused = RefusedFact(rows.table, row, reason)
    return _letter(_owing(agent, state), refused, key, offset, now_ms, RowRefused.code)


def refused_fact(agent: Agent, state: PartitionState, fact: RefusedFact, now_ms: int) -> DeadLetter:
    return fact_letter(_owing(agent, state), fact, now_ms, RowRefused.code)


def fact_letter(owing: Owing, fact: RefusedFact, now_ms: int, code: str) -> DeadLetter:
    """The dead letter of a row. Its offset is that of the record that the row names, else the last
    consumed one."""
    key = [
        fact.table,
        *filter(None, [fact.place]),
        *(fact.row[name] for name in sorted(fact.row) if name != "at"),
    ]
    offset = max(0, int(fact.row.get("off", owing.last_offset)))
    return _letter(owing, fact, key, offset, now_ms, code, owing.first_days)


def _owing(agent: Agent, state: PartitionState) -> Owing:
    place = state.tp, state.changelog, state.changelog_offset, state.link.last_offset
    return Owing(*place, agent.name, agent.group, first_days(state.later_maps))


def _letter(
    owing: Owing,
    refused: RefusedFact,
    key: Sequence[object],
    offset: int,
    now_ms: int,
    code: str,
    first_days: tuple[int, ...] = (),
) -> DeadLetter:
    log, tenant = owing.changelog, str(refused.row.get("tenant", ""))
    digest = sha256(msgspec.json.encode(list(map(str, key)))).hexdigest()[:32]
    origin = Origin(
        tp=owing.tp,
        offset=offset,
        timestamp_ms=now_ms,
        key=tenant.encode(),
        value=row_json(refused.table, refused.row, first_days),
        headers=(),
        dlq=TopicPartition(f"{owing.tp.topic}.dlq", owing.tp.partition),
        id=f"{log.topic}/{log.partition}/{owing.changelog_offset}/{digest}",
    )
    failure = Failure(
        code=code,
        message=refused.reason,
        stage="sink",
        agent=owing.agent,
        group=owing.group,
        attempts=1,
        first_failed_ms=now_ms,
    )
    return dead_letter(origin, failure, tenant)


def _as_dict(rows: WindowRows) -> dict[str, object]:
    return {
        "tenant": rows.tenants[int(rows.tenant_code[0])],
        "model": rows.models[int(rows.model_code[0])],
        "metric": rows.metrics[int(rows.metric_code[0])],
        "part": rows.part,
        **{
            name: getattr(rows, name)[0].item()
            for name in ("w", "inc", "n", "s1", "s2", "mean", "m2", "lo", "hi", "lv", "lt", "ver")
        },
        "sk_k": rows.sk_k.tolist(),
        "sk_n": rows.sk_n.tolist(),
        "shard": rows.shard,
        "moved": rows.moved,
    }
