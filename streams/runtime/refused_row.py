"""A window row that ClickHouse refuses for good, as a dead letter of stage ``sink``.

Its value is the row as JSON, so that it can be inserted after a fix; its id names the place in
the changelog that spoke of it last and a hash of the row's key.
"""

from __future__ import annotations

import msgspec
from xxhash import xxh3_64_hexdigest

from streams.dead_letters import DeadLetter, Failure, Origin, dead_letter
from streams.errors import RowRefused
from streams.job_agent import Agent
from streams.rows import WindowRows, offset_of
from streams.runtime.state import PartitionState
from streams.types import TopicPartition


def refused_row(
    agent: Agent, state: PartitionState, rows: WindowRows, reason: str, now_ms: int
) -> DeadLetter:
    """The dead letter of the single row in ``rows``."""
    row = _as_dict(rows)
    key = "\0".join(str(row[name]) for name in ("tenant", "model", "metric", "w", "part", "inc"))
    log = state.changelog
    place = (
        f"{log.topic}/{log.partition}/{state.changelog_offset}/{xxh3_64_hexdigest(key.encode())}"
    )
    origin = Origin(
        tp=state.tp,
        offset=offset_of(int(rows.ver[0])),
        timestamp_ms=now_ms,
        key=str(row["tenant"]).encode(),
        value=msgspec.json.encode({"table": rows.table, **row}),
        headers=(),
        dlq=TopicPartition(agent.source.dlq, state.tp.partition),
        id=place,
    )
    failure = Failure(
        code=RowRefused.code,
        message=reason,
        stage="sink",
        agent=agent.name,
        group=agent.group,
        attempts=1,
        first_failed_ms=now_ms,
    )
    return dead_letter(origin, failure, str(row["tenant"]))


def _as_dict(rows: WindowRows) -> dict[str, object]:
    return {
        "tenant": rows.tenants[int(rows.tenant_code[0])],
        "model": rows.models[int(rows.model_code[0])],
        "metric": rows.metrics[int(rows.metric_code[0])],
        "part": rows.part,
        **{
            name: getattr(rows, name)[0].item()
            for name in ("w", "inc", "n", "s1", "s2", "lo", "hi", "lv", "lt", "ver")
        },
        "sk_k": rows.sk_k.tolist(),
        "sk_n": rows.sk_n.tolist(),
    }
