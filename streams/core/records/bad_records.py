"""What can be wrong with one record, or with one row: a code each.

The codes are metric labels and the header ``dia.dlq.error_code`` of dead letters.
"""

from __future__ import annotations

from streams.core.errors import BadRecord


class InvalidJson(BadRecord):
    code = "invalid_json"


class InvalidMessagePack(BadRecord):
    code = "invalid_msgpack"


class CodecFailed(BadRecord):
    """The topic's own codec raised instead of saying what is wrong with a value."""

    code = "codec_failed"


class InvalidFrame(BadRecord):
    """A value that does not begin as the registry's wire format does."""

    code = "invalid_frame"


class UnknownSchemaId(BadRecord):
    """The registry has no schema of the id that the record names."""

    code = "unknown_schema_id"


class IncompatibleSchema(BadRecord):
    """The schema that the record was written with cannot be read as the topic's type."""

    code = "incompatible_schema"


class BodyUnfit(BadRecord):
    """The bytes behind the schema id are not what that schema describes."""

    code = "body_unfit"


class InvalidUtf8(BadRecord):
    code = "invalid_utf8"


class EmptyValue(BadRecord):
    code = "empty_value"


class MissingField(BadRecord):
    code = "missing_field"


class WrongType(BadRecord):
    code = "wrong_type"


class OutOfRange(BadRecord):
    """A value of the right type outside its documented bounds."""

    code = "out_of_range"


class NonFinite(BadRecord):
    code = "non_finite"


class KeyMismatch(BadRecord):
    """The record key is not the field the topic is partitioned by."""

    code = "key_mismatch"


class KeyMisplaced(BadRecord):
    """Not in the partition that murmur2 of its key names; refused by DIA_MISPLACED_KEYS."""

    code = "key_misplaced"


class TooLarge(BadRecord):
    code = "too_large"


class TimestampInFuture(BadRecord):
    code = "timestamp_in_future"


class TimestampTooOld(BadRecord):
    code = "timestamp_too_old"


class UnknownSchemaVersion(BadRecord):
    code = "unknown_schema_version"


class IdempotencyConflict(BadRecord):
    """The same event id came before with another payload."""

    code = "idempotency_conflict"


class TenantOverQuota(BadRecord):
    """The tenant has its share of what the partition remembers; a replay may bring the record."""

    code = "over_quota"


class UnknownTable(BadRecord):
    """What comes of the record is a fact of a table that this version of dia does not have."""

    code = "unknown_table"


class AgentTimeout(BadRecord):
    """The agent waited longer than DIA_AGENT_TIMEOUT_S in the middle of one event."""

    code = "agent_timeout"


class ValueRefused(BadRecord):
    """An agent gave a table a value that cannot be written or is not of the declared type, or sent a record
    that its topic cannot hold."""

    code = "value_refused"


class WindowClosed(BadRecord):
    """An agent wrote a window that has expired: it was closed, and must not open again."""

    code = "window_closed"


class RowUnfit(BadRecord):
    """What comes of the record is a row that its table's columns cannot hold."""

    code = "row_unfit"


class RowRefused(BadRecord):
    """A shard refused a row, found by bisection, or a sink of the app did."""

    code = "row_refused"


class RowDropped(BadRecord):
    """An operator gave up a row that a partition owed to a table or sink which no version at hand
    declares."""

    code = "row_dropped"


class RetriesExhausted(BadRecord):
    """The record may be good: what it needed was away for all of its ``attempts``."""

    code = "retries_exhausted"

    def __init__(self, message: str, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts
