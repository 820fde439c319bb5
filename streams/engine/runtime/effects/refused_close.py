"""A refused `on_window_close` of an agent's table, as a dead letter of stage ``window``.

No record failed, so nothing can be replayed: the window is closed, and the letter keeps it. Its value is
JSON; ``packed`` stands for ``value`` where JSON cannot hold it, or in too many bytes:

    tenant_id         the owner of the window; "" for several tenants, or none
    table, key        of the window
    start_ms, end_ms  of the window, milliseconds since the Unix epoch
    value             of the window before it closed
    packed            MessagePack of key and value, in base85
"""

from __future__ import annotations

from base64 import b85encode
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from streams.core.errors import BadRecord
from streams.core.topics.topic import MAX_RECORD_BYTES
from streams.core.types import TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.effects.dead_letters import DeadLetter, Failure, Origin, dead_letter
from streams.engine.runtime.restore.state import PartitionState
from streams.engine.state.key_owners import Owner
from streams.engine.state.table_values import Key, key_bytes

WINDOW_STAGE: Final = "window"

_decode = msgspec.msgpack.Decoder().decode


class RefusedClose(NamedTuple):
    """``packed``: MessagePack of the value. ``sent``: what the callback sent and its rows are kept."""

    table: str
    key: Key
    start_ms: int
    end_ms: int
    packed: bytes
    owner: Owner
    error: BadRecord
    sent: bool

    @property
    def message(self) -> str:
        done = (
            "what it sent and its rows went out, none of its writes" if self.sent else "no effect"
        )
        return (
            f"on_window_close of table {self.table!r} for a window from {self.start_ms} ms was "
            f"refused ({done}): {self.error}"
        )

    @property
    def value(self) -> bytes:
        head = {
            "tenant_id": self.owner or "",
            "table": self.table,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
        }
        try:
            whole = _json({**head, "key": self.key, "value": _decode(self.packed)})
        except (TypeError, ValueError, RecursionError):
            whole = b""
        if 0 < len(whole) <= MAX_RECORD_BYTES:
            return whole
        packed = b"\x92" + key_bytes(self.key) + self.packed
        return _json({**head, "packed": b85encode(packed).decode()})


def refused_close(
    agent: Agent, state: PartitionState, refused: RefusedClose, last_offset: int, now_ms: int
) -> DeadLetter:
    """``last_offset``: of the last event before the window closed."""
    tp, tenant, epoch = state.tp, refused.owner or "", state.link.epoch
    window = b"%s/%d/%s" % (refused.table.encode(), refused.start_ms, key_bytes(refused.key))
    place = (
        f"{tp.topic}/{tp.partition}/{max(0, last_offset)}/window-{sha256(window).hexdigest()[:32]}"
    )
    origin = Origin(
        tp=tp,
        offset=max(0, last_offset),
        timestamp_ms=now_ms,
        key=tenant.encode(errors="replace"),
        value=refused.value,
        headers=(),
        dlq=TopicPartition(f"{tp.topic}.dlq", tp.partition),
        id=place + (f"/e{epoch}" if epoch else ""),
    )
    failure = Failure(
        code=refused.error.code,
        message=refused.message,
        stage=WINDOW_STAGE,
        agent=agent.name,
        group=agent.group,
        attempts=1,
        first_failed_ms=now_ms,
    )
    return dead_letter(origin, failure, tenant)


def _json(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value)
