"""Dead letters as lossless JSON Lines.

UTF-8 bytes are a string under their own name, others base64 under ``NAME_base64``; an absent key or
value is null. ``headers`` keeps order and repetitions."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from streams.operate.dlq.dead_letter import DeadLetterRecord

_ENCODER = msgspec.json.Encoder()


def encode(letter: DeadLetterRecord) -> bytes:
    """One line, without its end."""
    return _ENCODER.encode(exported(letter))


def exported(letter: DeadLetterRecord) -> dict[str, Any]:
    return {
        "dlq": letter.dlq.topic,
        "partition": letter.dlq.partition,
        "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms,
        "id": letter.id,
        "source": {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.source_offset,
            "timestamp_ms": letter.source_timestamp_ms,
        },
        "error_code": letter.error_code,
        "error_message": letter.error_message,
        "stage": letter.stage,
        "agent": letter.agent,
        "group": letter.group,
        "tenant": letter.tenant,
        "attempts": letter.attempts,
        "hops": letter.hops,
        "failed_ms": letter.failed_ms,
        "app_version": letter.app_version,
        "dialect": letter.dialect.name,
        "pointer": None if letter.pointer is None else letter.pointer._asdict(),
        **_bytes("key", letter.key),
        **_bytes("value", letter.value),
        "headers": [{"name": name, **_bytes("value", value)} for name, value in letter.headers],
    }


def _bytes(name: str, raw: bytes | None) -> dict[str, str | None]:
    if raw is None:
        return {name: None}
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(raw).decode()}
