"""Defects of one record or row, with a code each.

Codes are metric labels and the header ``dia.dlq.error_code`` of dead letters.
"""

from __future__ import annotations

from typing import Final

from streams.core.errors import AgentFailed, BadRecord


class InvalidJson(BadRecord):
    """The value is not one JSON document."""

    code = "invalid_json"


class InvalidMessagePack(BadRecord):
    """The value is not one MessagePack document."""

    code = "invalid_msgpack"


class CodecFailed(BadRecord):
    """The topic's own codec raised instead of returning a defect."""

    code = "codec_failed"


class InvalidFrame(BadRecord):
    """A value without the header of the registry's wire format."""

    code = "invalid_frame"


class UnknownSchemaId(BadRecord):
    """The registry has no schema with the record's schema id."""

    code = "unknown_schema_id"


class IncompatibleSchema(BadRecord):
    """The record's schema cannot be read as the topic's type."""

    code = "incompatible_schema"


class BodyUnfit(BadRecord):
    """The body does not match its schema."""

    code = "body_unfit"


class InvalidUtf8(BadRecord):
    """The key or value has bytes that are not UTF-8."""

    code = "invalid_utf8"


class EmptyValue(BadRecord):
    """The record has no value, or one of no bytes."""

    code = "empty_value"


class MissingField(BadRecord):
    """A required field is absent; the message names it."""

    code = "missing_field"


class WrongType(BadRecord):
    """A field has a value of another type than its schema; the message names both."""

    code = "wrong_type"


class OutOfRange(BadRecord):
    """A value of the right type outside its documented bounds."""

    code = "out_of_range"


class NonFinite(BadRecord):
    """A number is NaN or infinite."""

    code = "non_finite"


class KeyMismatch(BadRecord):
    """The record key differs from the field by which the topic is partitioned."""

    code = "key_mismatch"


class KeyMisplaced(BadRecord):
    """The record is not in the partition of its key by murmur2; refused by DIA_MISPLACED_KEYS."""

    code = "key_misplaced"


class TooLarge(BadRecord):
    """The record is larger than its topic takes."""

    code = "too_large"


class TimestampInFuture(BadRecord):
    """The event time is more than DIA_FUTURE_MAX_S seconds after the record's append time."""

    code = "timestamp_in_future"


class TimestampTooOld(BadRecord):
    """The event time is more than DIA_LATE_MAX_S seconds before the record's append time."""

    code = "timestamp_too_old"


class UnknownSchemaVersion(BadRecord):
    """The header dia.schema names a version that this dia does not have."""

    code = "unknown_schema_version"


class IdempotencyConflict(BadRecord):
    """The same event id came before with another payload."""

    code = "idempotency_conflict"


class TenantOverQuota(BadRecord):
    """The tenant has used its share of the partition's state, or of the agent's time; a replay may succeed."""

    code = "over_quota"


class UnknownTable(BadRecord):
    """The record's row is for a table that this version of dia does not have."""

    code = "unknown_table"


class AgentTimeout(BadRecord):
    """The agent waited longer than DIA_AGENT_TIMEOUT_S within one event."""

    code = "agent_timeout"


class ValueRefused(BadRecord):
    """An agent set a table value of the wrong type or that cannot be written, or sent a record that
    its topic cannot hold."""

    code = "value_refused"


class KeyRefused(BadRecord):
    """An agent used a key that a table cannot have, or wrote one of another partition."""

    code = "key_refused"


class WindowClosed(BadRecord):
    """An agent wrote to an expired window, which cannot open again."""

    code = "window_closed"


class WindowDropped(BadRecord):
    """An operator ordered that the window closes without its `on_window_close`."""

    code = "window_dropped"


class RowUnfit(BadRecord):
    """The columns of a table cannot hold the record's row."""

    code = "row_unfit"


class RowRefused(BadRecord):
    """A shard (found by bisection) or a sink of the app refused a row."""

    code = "row_refused"


class RowDropped(BadRecord):
    """An operator dropped a row owed to a table or sink that no available version declares."""

    code = "row_dropped"


class RetriesExhausted(BadRecord):
    """The record may be good: a dependency was unavailable during all ``attempts``."""

    code = "retries_exhausted"

    def __init__(self, message: str, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


DEAD_LETTER_CODES: Final = frozenset(
    {
        AgentFailed.code,
        *(kind.code for kind in BadRecord.__subclasses__() if kind.__module__ == __name__),
    }
)
"""Those of dia; agents of an app may give others."""
