"""Every error of dia, in one tree, each leaf answering one question: what happens next?

DiaError
 +- BadRecord                      dead-letter the record, go on (streams/core/records/bad_records.py)
 |   +- InvalidJson, InvalidUtf8, EmptyValue, MissingField, WrongType, OutOfRange, NonFinite, KeyMismatch,
 |   |  KeyMisplaced, TooLarge, TimestampInFuture, TimestampTooOld, UnknownSchemaVersion, IdempotencyConflict,
 |   |  TenantOverQuota, UnknownTable, RowUnfit, AgentTimeout, ValueRefused, KeyRefused, WindowClosed,
 |   |  WindowDropped, InvalidMessagePack, CodecFailed, InvalidFrame, UnknownSchemaId, IncompatibleSchema, BodyUnfit
 |   +- RowRefused, RowDropped     (stage "sink": a shard, a sink or an operator refused this row)
 |   +- RetriesExhausted           (a good record; what it needed stayed away: a replay will do)
 +- TransientError                 retry with backoff
 |   +- BrokerUnavailable, UnknownTopic, ShardUnavailable, ShardBusy, PoolExhausted, CacheUnavailable, ProcessDied,
 |   |  JobProcessFailed, PolicyServiceFailed, DependencyLate, LockBusy, LeaseLost, SinkUnavailable, SignInProviderUnavailable
 |   +- BreakerOpen, PolicyServiceUnavailable, RequestUnread, SchemaRegistryUnavailable, SchemaPending,
 |      SubjectPending, GlobalTablePending   (wait: what needs it pauses)
 +- JobRefused                     answer the request with it, go on (streams/core/job_refusals.py)
 |   +- UnknownScenario, InvalidParameters, SimulationTimeout, SimulationMemory, SimulationFailed, SimulationCancelled, PolicyRejected
 +- RequestRefused                 answer the HTTP request with its status, go on
 |   +- (streams/connect/access/refusals.py, one a status)
 +- PartitionRestart               abandon the producer, drop memory, run A1-A5 again
 |   +- ProducerFenced, CommitInDoubt, StoreUnusable
 +- PartitionStopped               stop this partition loudly; an operator decides
 |   +- ChangelogLost, ChangelogGap, TopicRecreated, SourceTruncated, UnknownFormat, SourceNotLogAppendTime,
 |   |  AgentFailed, EngineFailed, PoisonStorm, StateLimit, OffsetLimit, UnknownTarget, BatchUnreadable,
 |      TableMisused, TableChanged, SchemaRefused
 +- RollUpExpired                  skip this recomputation, alert, go on
 +- RecordLost                     skip this dead letter, say so, go on
 +- WorkerStopped                  stop the worker
 |   +- MembershipConflict, PartitionStuck, SlotInUse, ShardMapChanged 5
 +- CommandError                   end a command with its exit code
     +- UsageError 2, UnsupportedByDia 2, PartialResult 3, DependencyUnreachable 4, RefusedBySafety 5
         +- (streams/core/command_errors.py)

``code`` is stable and low-cardinality: it is a metric label and the DLQ header
``dia.dlq.error_code``. Messages name what, why, and the next command.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import ClassVar

from streams.core.masking import masked

_CODE = re.compile(r"[a-z][a-z0-9_]{2,30}")


def is_code(text: object) -> bool:
    """Whether it has the form of an error code, which is a metric label and a header."""
    return isinstance(text, str) and _CODE.fullmatch(text) is not None


class Disposition(Enum):
    """What the runtime does with an error."""

    RETRY = "retry"
    PAUSE = "pause"
    DEAD_LETTER = "dead_letter"
    ANSWER = "answer"
    RESTART_PARTITION = "restart_partition"
    STOP_PARTITION = "stop_partition"
    STOP_WORKER = "stop_worker"
    END_COMMAND = "end_command"
    SKIP = "skip"


class DiaError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "error"
    disposition: ClassVar[Disposition] = Disposition.STOP_WORKER
    exit_code: ClassVar[int] = 1

    def __init__(self, *said: object) -> None:
        """The text of ``said`` loses the logins of its URLs: errors appear in logs, answers and
        dead letters."""
        super().__init__(*(masked(text) if isinstance(text, str) else text for text in said))


class BadRecord(DiaError):
    """One record or row that can never be processed as it is. A subclass without a code, or with
    one that is no label, raises `UsageError`."""

    disposition = Disposition.DEAD_LETTER

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.code == DiaError.code or not is_code(cls.code):
            raise UsageError(
                f"{cls.__name__} is a BadRecord with code={cls.code!r:.80}. Give the class a code of "
                "its own: 3 to 31 lower-case letters, digits and underscores, as 'robot_click'."
            )


class TransientError(DiaError):
    """Likely to pass by itself: retry with backoff. ``need``: the failed member of
    `Performer.needs`."""

    disposition = Disposition.RETRY
    need = ""


class BrokerUnavailable(TransientError):
    """Kafka does not answer, or refuses the request for now."""

    code = "broker_unavailable"
    exit_code = 4


class UnknownTopic(TransientError):
    """The topic or partition does not exist (yet): `dia topics apply` creates it."""

    code = "unknown_topic"
    exit_code = 4


class ShardUnavailable(TransientError):
    """No replica of a ClickHouse shard accepted the request."""

    code = "shard_unavailable"
    exit_code = 4


class ShardBusy(TransientError):
    """ClickHouse is overloaded (code 252, too many parts): back-pressure, not a failure."""

    code = "shard_busy"


class SinkUnavailable(TransientError):
    """A sink of the app did not store a replayed row."""

    code = "sink_unavailable"
    exit_code = 4


class PoolExhausted(TransientError):
    """No connection of a bounded pool became free in time."""

    code = "pool_exhausted"


class CacheUnavailable(TransientError):
    """Redis does not answer, or has no known address."""

    code = "cache_unavailable"
    exit_code = 4


class LockBusy(TransientError):
    """Another process holds the lock."""

    code = "lock_busy"
    exit_code = 5


class LeaseLost(TransientError):
    """A lock ended while its holder worked; another process may hold it."""

    code = "lease_lost"
    exit_code = 5


class BreakerOpen(TransientError):
    """The dependency failed too often and is not called for a while."""

    code = "breaker_open"
    disposition = Disposition.PAUSE


class PolicyServiceFailed(TransientError):
    """One request to the policy service failed."""

    code = "policy_service_failed"


class PolicyServiceUnavailable(TransientError):
    """No policy can be read: the partition that needs it pauses, and no dead letter is written."""

    code = "policy_service_unavailable"
    disposition = Disposition.PAUSE
    exit_code = 4


class SignInProviderUnavailable(TransientError):
    """The OpenID provider does not answer, or answers what cannot be read: no person can sign
    in through it, and sessions go on."""

    code = "sign_in_provider_unavailable"
    exit_code = 4


class RequestUnread(TransientError):
    """The log of a request that is not in memory cannot be read."""

    code = "request_unread"
    disposition = Disposition.PAUSE


class SchemaRegistryUnavailable(TransientError):
    """The schema registry does not answer: work that needs a schema waits, and no dead letter is
    written."""

    code = "schema_registry_unavailable"
    disposition = Disposition.PAUSE
    exit_code = 4


class Pending(TransientError):
    """The needed object is not in memory; ``obtain`` waits for it. With a schema registry it raises
    `SchemaRegistryUnavailable`, or `SchemaRefused` for a schema to register."""

    disposition = Disposition.PAUSE
    exit_code = 4

    def __init__(self, message: str, obtain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(message)
        self.obtain = obtain


class SchemaPending(Pending):
    """The schemas of a batch are not in memory; raised before any record is decoded."""

    code = "schema_pending"


class SubjectPending(Pending):
    """The registry has not returned the id of the schema to write with."""

    code = "subject_pending"


class GlobalTablePending(Pending):
    """A global table is not read to its end; its readers wait."""

    code = "global_table_pending"


class DependencyLate(TransientError):
    code = "dependency_late"


class ProcessDied(TransientError):
    """A pool process died during a job, which may run again in another."""

    code = "process_died"


class JobProcessFailed(TransientError):
    """The process of a scheduled job failed: the job runs again at its next time."""

    code = "job_process_failed"


class JobRefused(DiaError):
    """Valid, but never going to succeed; its result gives the reason. ``need``: the last that
    answered."""

    disposition = Disposition.ANSWER
    need = ""


class RequestRefused(DiaError):
    """An HTTP request that is answered with ``status`` and a problem document."""

    disposition = Disposition.ANSWER
    status: ClassVar[int] = 400

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PartitionRestart(DiaError):
    """A partition's state in this process is in doubt: A1-A5 restore it from the log."""

    disposition = Disposition.RESTART_PARTITION


class ProducerFenced(PartitionRestart):
    """Another process started this partition's transactional producer."""

    code = "producer_fenced"


class CommitInDoubt(PartitionRestart):
    """A commit failed, was refused, or passed its deadline; its result is unknown."""

    code = "commit_in_doubt"


class StoreUnusable(PartitionRestart):
    """The local state store is corrupt, locked or older than the changelog's start."""

    code = "store_unusable"


class PartitionStopped(DiaError):
    """Going on could lose or duplicate data: the partition stops until an operator decides."""

    disposition = Disposition.STOP_PARTITION


class ChangelogLost(PartitionStopped):
    """The changelog topic, or its end, is gone: the partition's state cannot be restored."""

    code = "changelog_lost"


class ChangelogGap(PartitionStopped):
    """The changelog lacks records between two that the state needs."""

    code = "changelog_gap"


class TopicRecreated(PartitionStopped):
    """Another topic has taken the name: its offsets mean other records."""

    code = "topic_recreated"


class SourceTruncated(PartitionStopped):
    """The source topic has lost records that were not consumed."""

    code = "source_truncated"


class UnknownFormat(PartitionStopped):
    """This version of dia does not read the format of the state."""

    code = "unknown_format"


class SourceNotLogAppendTime(PartitionStopped):
    """A batch of the source has its producer's times, and not the broker's append times."""

    code = "source_not_log_append_time"


class AgentFailed(PartitionStopped):
    """The agent's own code raised on a batch: a bug that every retry would repeat."""

    code = "agent_failed"


class TableMisused(PartitionStopped):
    """The agent's code uses a table in a way that would corrupt its state."""

    code = "table_misused"


class TableChanged(PartitionStopped):
    """A table's declaration differs from the one that wrote its state."""

    code = "table_changed"


class EngineFailed(PartitionStopped):
    """The engine raised an unexpected exception: a bug in dia."""

    code = "engine_failed"


class PoisonStorm(PartitionStopped):
    """Most records are bad, as after a bad deploy, which must not drain into the DLQ.

    ``offset``: start of the batch that tripped the breaker, none of which was committed. ``codes``:
    defects of the records folded since the last commit."""

    code = "poison_storm"

    def __init__(self, message: str, *, offset: int, bad: int, records: int) -> None:
        super().__init__(message)
        self.offset = offset
        self.bad = bad
        self.records = records
        self.codes: Mapping[str, int] = {}


class StateLimit(PartitionStopped):
    """A documented bound of the state is reached."""

    code = "state_limit"


class UnknownTarget(PartitionStopped):
    """The state owes an effect to a target that this version of dia does not know."""

    code = "unknown_target"


class SchemaRefused(PartitionStopped):
    """The registry refuses the schema of a topic that the app writes."""

    code = "schema_refused"


class OffsetLimit(PartitionStopped):
    """The source offsets reach the limit of a window row's version."""

    code = "offset_limit"


class BatchUnreadable(PartitionStopped):
    """A batch that dia cannot open. ``offset`` is the reader's position in the partition ``tp``,
    ``until`` the offset behind the batch, as far as its header is valid."""

    code = "batch_unreadable"

    def __init__(self, tp: tuple[str, int], offset: int, until: int, why: str) -> None:
        super().__init__(
            f"{tp[0]}/{tp[1]}: the batch at offsets {offset} to {until - 1} cannot be opened: {why}. "
            f"Brokers store it unopened. In a source, `dia shed run --topic {tp[0]} --unreadable "
            f"--reason WHY` skips these offsets and counts them."
        )
        self.tp, self.offset, self.until, self.why = tp, offset, until, why


class RollUpExpired(DiaError):
    """An hour or day too old to recompute: some of its minutes have expired. The stored row is larger
    than a recomputed one and stays."""

    code = "roll_up_expired"
    disposition = Disposition.SKIP


class RecordLost(DiaError):
    """A dead letter refers to a record that its source topic no longer holds."""

    code = "record_lost"
    disposition = Disposition.SKIP


class WorkerStopped(DiaError):
    """The process cannot go on."""

    disposition = Disposition.STOP_WORKER


class MembershipConflict(WorkerStopped):
    """Two processes use one static member id and evict each other."""

    code = "membership_conflict"


class PartitionStuck(WorkerStopped):
    """The task of a revoked partition does not end when it is cancelled."""

    code = "partition_stuck"


class SlotInUse(WorkerStopped):
    """Another process holds the file lock of this worker slot."""

    code = "slot_in_use"
    exit_code = 5


class ShardMapChanged(WorkerStopped):
    """The servers or a changelog do not know this process's shard map: windows would count twice and
    series would not be found."""

    code = "shard_map_changed"
    exit_code = 5


class CommandError(DiaError):
    """Ends a CLI command with ``exit_code``."""

    disposition = Disposition.END_COMMAND


class UsageError(CommandError):
    code = "usage"
    exit_code = 2


class UnsupportedByDia(UsageError):
    """A feature of Faust that dia lacks; the message names the alternative."""


class PartialResult(CommandError):
    """A part was done and a part refused; the message counts both."""

    code = "partial"
    exit_code = 3


class DependencyUnreachable(CommandError):
    code = "dependency_unreachable"
    exit_code = 4


class RefusedBySafety(CommandError):
    """The command could lose or double data here; the message names the safe way."""

    code = "refused_by_safety"
    exit_code = 5
