"""Every metric of the process, declared here and in the modules ``*_metrics.py`` beside it.

Names have the prefix ``dia_`` and base units. Label values are bounded: topics, partitions, tables,
shards, error codes, protocol steps; never a key, an id or a message. `Metrics.forget_partition`
removes the gauges of a lost partition, else two processes would report its lag."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from streams.core.process.process_memory import limit_bytes
from streams.core.telemetry.declaring import PREFIX, Declare
from streams.core.telemetry.health_metrics import HealthMetrics
from streams.core.telemetry.http_metrics import ConnectionMetrics, ConsoleMetrics, EdgeMetrics
from streams.core.telemetry.region_metrics import RegionMetrics

PARTITION = ("topic", "partition")

PARTITION_STATES = ("fencing", "restoring", "ready", "stopped")
"""A1, A2 to A5, taking records, stopped until an operator decides."""


BREAKER_STATES = ("closed", "half_open", "open")

COMMIT_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
INSERT_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
FRESHNESS_BUCKETS_S = (
    *(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45),
    *(60, 120, 300, 600, 1200, 1800, 3600),
)
"""Neighbours differ by a factor of 2.5 at most, the error of an interpolated quantile."""
JOB_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
RESTORE_BUCKETS_S = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)


class IntakeMetrics:
    """Every record read is applied, a duplicate, or a dead letter; or shed, unread."""

    def __init__(self, declare: Declare) -> None:
        self._declare_lags(declare)
        self.records_read = declare.counter(
            "records_read_total", "Records of a source partition that are committed.", PARTITION
        )
        self.records_applied = declare.counter(
            "records_applied_total", "Records that changed the state.", PARTITION
        )
        self.duplicates = declare.counter(
            "duplicates_total", "Records whose event id was already seen.", PARTITION
        )
        self.shed = declare.counter(
            "shed_total", "Offsets skipped unread, by an operator's order.", PARTITION
        )
        self.held_back_seconds = declare.gauge(
            "held_back_seconds",
            "How long an open transaction has kept a read-up partition from its newest records.",
            PARTITION,
        )
        self.clock_ahead_seconds = declare.gauge(
            "clock_ahead_seconds",
            "By what the worker's clock is ahead of the broker's at least, as append times of "
            "fresh records prove; negative: behind.",
            PARTITION,
        )
        self.offset_moved = declare.counter(
            "group_offset_moved_total",
            "Partitions opened with a committed offset that is not the last commit's.",
            PARTITION,
        )
        self.misplaced = declare.counter(
            "misplaced_records_total",
            "Records in another partition than murmur2 of their key names.",
            PARTITION,
        )
        self.late_dropped = declare.counter(
            "late_records_dropped_total",
            "Records that came for closed windows only, of windows declared with late='drop'.",
            PARTITION,
        )
        self.dead_letters = declare.counter(
            "dead_letters_total",
            "Records written to a dead-letter topic; investigate a new error_code.",
            ("topic", "error_code"),
        )
        self.pointers = declare.counter(
            "dead_letter_pointers_total",
            "Dead letters too large for their topic: the value goes with the source's retention.",
            ("topic",),
        )
        self.compact_letters = declare.counter(
            "dead_letters_compact_total",
            "Dead letters beyond their tenant's rate or quota, which point to their record in the source "
            "topic.",
            ("topic",),
        )
        self.quarantined_tenants = declare.gauge(
            "quarantined_tenants",
            "Tenants whose records are mostly bad: their dead letters are written at a bounded rate.",
            PARTITION,
        )
        self.tenants_over_letter_quota = declare.gauge(
            "tenants_over_letter_quota",
            "Tenants that used DIA_QUOTA_LETTERS up within ten minutes: further letters point to their record.",
            PARTITION,
        )

    def _declare_lags(self, declare: Declare) -> None:
        self.lag_records = declare.gauge(
            "lag_records", "Last stable offset minus the committed next offset.", PARTITION
        )
        self.append_lag_seconds = declare.gauge(
            "append_lag_seconds",
            "Seconds since the oldest event or request was appended that its agent has not done; of agents that "
            "fold lists, since the record that was read last was, while others are unread. 0 when nothing waits.",
            PARTITION,
        )
        self.event_time_lag_seconds = declare.gauge(
            "event_time_lag_seconds",
            "Wall clock minus the partition's watermark; of requests, the age of the oldest "
            "unfinished one, 0 when there is none.",
            PARTITION,
        )


class CommitMetrics:
    """The commit protocol, C2 to C4."""

    def __init__(self, declare: Declare) -> None:
        self.held_windows = declare.gauge(
            "held_windows",
            "Windows that wait in the state as their on_window_close failed.",
            PARTITION,
        )
        self.refused_closes = declare.counter(
            "refused_window_closes_total",
            "Closed windows whose on_window_close was refused: dead letters of stage window.",
            ("topic", "error_code"),
        )
        self.commits = declare.counter(
            "commits_total", "Transactions committed and applied.", PARTITION
        )
        self.seconds = declare.histogram(
            "commit_seconds", "Time of one step of a commit.", COMMIT_BUCKETS_S, ("step",)
        )
        self.failures = declare.counter(
            "commit_failures_total",
            "Commits abandoned; the partition goes through A1 to A5 again.",
            ("code",),
        )


class PartitionMetrics:
    def __init__(self, declare: Declare) -> None:
        self.state = declare.gauge(
            "partition_state",
            "1 for the state the partition is in, 0 for the others; stopped needs an operator.",
            (*PARTITION, "state"),
        )
        self.stopped = declare.gauge(
            "partition_stopped",
            "1 while the partition is stopped by the error of that code.",
            (*PARTITION, "code"),
        )
        self.waits = declare.gauge(
            "partition_waits",
            "1 while the partition waits for a dependency, which `dia status` names; no replica helps it.",
            PARTITION,
        )
        self.restore_records = declare.counter(
            "restore_records_total", "Changelog records read to rebuild state.", PARTITION
        )
        self.restore_seconds = declare.histogram(
            "restore_seconds", "Time from A1 to ready.", RESTORE_BUCKETS_S
        )
        self.rebalances = declare.counter(
            "rebalances_total", "Assignments received from the group coordinator."
        )
        self.paused = declare.gauge(
            "paused_partitions",
            "Partitions that take no records: a buffer is full, or the state could not be kept.",
            ("group",),
        )


class StateMetrics:
    def __init__(self, declare: Declare) -> None:
        self.live_windows = declare.gauge("live_windows", "Windows not yet closed.", PARTITION)
        self.bytes = declare.gauge(
            "state_bytes", "Encoded size of a table's live entries.", (*PARTITION, "table")
        )
        self.changelog_live_bytes = declare.gauge(
            "changelog_live_bytes", "Bytes of the changelog that are still needed.", PARTITION
        )
        self.changelog_log_bytes = declare.gauge(
            "changelog_log_bytes",
            "Bytes of the changelog since its base offset; restore time follows it.",
            PARTITION,
        )
        self.pressure_ratio = declare.gauge(
            "pressure_ratio",
            "Fill of the partition's fullest bounded buffer; at 0.8 it pauses, until below 0.5.",
            PARTITION,
        )
        self.unacked_rows = declare.gauge(
            "unacked_rows", "Outbox entries no target has acknowledged yet.", PARTITION
        )


class SinkMetrics:
    """Rows on their way to the ClickHouse shards."""

    def __init__(self, declare: Declare) -> None:
        self.rows = declare.counter(
            "sink_rows_total", "Rows a shard acknowledged, repeats included.", ("shard", "table")
        )
        self.insert_seconds = declare.histogram(
            "sink_insert_seconds", "Time of one acknowledged insert.", INSERT_BUCKETS_S, ("shard",)
        )
        self.errors = declare.counter(
            "sink_errors_total", "Inserts that failed and will be repeated.", ("shard", "code")
        )
        self.queue_rows = declare.gauge(
            "sink_queue_rows", "Rows waiting in this process for one shard.", ("shard",)
        )
        self.freshness_seconds = declare.histogram(
            "freshness_seconds",
            "From the append of a record to the acknowledgement of the row that first holds it.",
            FRESHNESS_BUCKETS_S,
        )
        self.rows_refused = declare.counter(
            "rows_refused_total", "Rows that ClickHouse or a sink will never take.", ("table",)
        )
        self.named_rows = declare.counter(
            "named_sink_rows_total", "Rows that a sink of the app has, repeats included.", ("sink",)
        )
        self.named_errors = declare.counter(
            "named_sink_errors_total", "Writes that a sink of the app failed.", ("sink",)
        )
        self.rollups = declare.counter(
            "rollups_total", "Hours and days recomputed from minutes.", ("table",)
        )
        self.rollups_refused = declare.counter(
            "rollups_refused_total",
            "Hours and days not recomputed because their minutes have begun to expire.",
            ("table",),
        )


class BreakerMetrics:
    def __init__(self, declare: Declare) -> None:
        self.state = declare.gauge(
            "breaker_state",
            "1 for the state the breaker is in, 0 for the others; open: the dependency is away.",
            ("dependency", "state"),
        )


class DegradationMetrics:
    def __init__(self, declare: Declare) -> None:
        self.level = declare.gauge(
            "degradation_level",
            "0 healthy, 1 degraded, 2 partial, 3 minimal: the worst signal of the process.",
        )
        self.signal = declare.gauge(
            "degradation_signal_level",
            "The level of one signal: a shard, Kafka, Redis, or the disk of the state.",
            ("signal",),
        )


class ScheduleMetrics:
    def __init__(self, declare: Declare) -> None:
        self.leader = declare.gauge(
            "schedule_leader", "1 in the process that leads; a sum of 0: no process leads."
        )
        self.runs = declare.counter(
            "schedule_runs_total", "Runs that ended, by how.", ("job", "result")
        )
        self.found = declare.gauge(
            "schedule_findings",
            "Findings of the last complete run of a job; from the leader alone.",
            ("job",),
        )
        self.ended = declare.gauge(
            "schedule_ended_timestamp_seconds", "When that run ended.", ("job",)
        )
        self.backup_age = declare.gauge(
            "backup_age_seconds",
            "Time since the newest whole backup began; infinite while none is known, 0 in processes "
            "that do not lead and without DIA_BACKUP_TO.",
        )
        self.predicted = declare.gauge(
            "predicted_events_per_second",
            "Top of the forecast's band in the busiest hour of the horizon; 0 while none is known, and "
            "in processes that do not lead.",
            ("horizon",),
        )
        self.drill_age = declare.gauge(
            "drill_age_seconds",
            "Time since the last good drill of a procedure began; infinite while none is known, 0 in "
            "processes that do not lead and without DIA_BACKUP_TO; of a region, also without DIA_REGION; of a "
            "replica, also where no shard has two.",
            ("procedure",),
        )


class CacheMetrics:
    """Caches in the process (l1) and in Redis (l2), by name."""

    def __init__(self, declare: Declare) -> None:
        self.requests = declare.counter(
            "cache_requests_total",
            "Look-ups by layer; error: the layer did not answer, and the next one was read.",
            ("cache", "layer", "result"),
        )
        self.loads = declare.counter(
            "cache_loads_total",
            "Values read from their source; behind: it was older than the version in the cache.",
            ("cache", "result"),
        )
        self.invalidations = declare.counter(
            "cache_invalidations_total", "Invalidations sent or received.", ("cache", "cause")
        )
        self.resyncs = declare.counter(
            "cache_resyncs_total",
            "Times the process forgot all it kept, because it may have missed an invalidation.",
        )
        self.live = declare.gauge(
            "cache_subscription_live", "1 while invalidations of other processes are received."
        )
        self.bytes = declare.gauge("cache_bytes", "Memory of the process's own layer.", ("cache",))
        self.behind = declare.gauge(
            "cache_write_behind_entries", "Writes that wait in this process.", ("cache",)
        )


class JobMetrics:
    def __init__(self, declare: Declare) -> None:
        self.waiting = declare.gauge("jobs_waiting", "Jobs that wait for a process.", ("lane",))
        self.running = declare.gauge("jobs_running", "Jobs under way.")
        self.processes = declare.gauge(
            "jobs_processes", "Processes that may run jobs, by the number of jobs that wait."
        )
        self.wait_seconds = declare.histogram(
            "job_wait_seconds", "From being read to first starting.", JOB_BUCKETS_S, ("lane",)
        )
        self.run_seconds = declare.histogram(
            "job_run_seconds", "One run of a job, failed ones included.", JOB_BUCKETS_S
        )
        self.finished = declare.counter(
            "jobs_finished_total", "First results of a key, committed or not.", ("status",)
        )
        self.failures = declare.counter(
            "job_failures_total", "Attempts that failed and may be tried again.", ("code",)
        )
        self.given_up = declare.counter(
            "jobs_given_up_total",
            "Requests whose every attempt failed in passing: dead letters that a replay answers.",
        )
        self.shut_needs = declare.gauge(
            "jobs_shut_needs",
            "Dependencies of jobs that fail now: the jobs that need them wait, the others do not.",
        )
        self.hook_failures = declare.counter(
            "job_hook_failures_total",
            "Hooks of scenarios that raised, took too long, or were not called because the queue was full.",
            ("queue", "why"),
        )


class TracingMetrics:
    """Spans of sampled events on their way to the collector."""

    def __init__(self, declare: Declare) -> None:
        self.spans = declare.counter(
            "trace_spans_total",
            "Spans by outcome: sent; failed, the collector did not take them; dropped, too many waited.",
            ("outcome",),
        )


class Metrics:
    """One instance per process, test or simulation."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, version: str = "", process: str = ""
    ) -> None:
        """``process``: worker, replay, edge or console."""
        # A creation time per counter would double a scrape.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = registry if registry is not None else CollectorRegistry()
        declare = Declare(self.registry)
        self.intake = IntakeMetrics(declare)
        self.commit = CommitMetrics(declare)
        self.partition = PartitionMetrics(declare)
        self.state = StateMetrics(declare)
        self.sink = SinkMetrics(declare)
        self.breaker = BreakerMetrics(declare)
        self.degradation = DegradationMetrics(declare)
        self.schedule = ScheduleMetrics(declare)
        self.cache = CacheMetrics(declare)
        self.jobs = JobMetrics(declare)
        self.connections = ConnectionMetrics(declare)
        self.edge = EdgeMetrics(declare)
        self.console = ConsoleMetrics(declare)
        self.tracing = TracingMetrics(declare)
        self.health = HealthMetrics(declare)
        self.regions = RegionMetrics(declare)
        self.loop_heartbeat = declare.gauge(
            "loop_heartbeat_timestamp_seconds", "Wall clock of the event loop's last heartbeat."
        )
        self.memory_limit = declare.gauge(
            "memory_limit_bytes",
            "Memory the process may use: of its container, else the machine's.",
        )
        self.memory_limit.set(limit_bytes())
        self.kernels = declare.gauge(
            "kernels_loaded", "1: compiled kernels read and fold; 0: numpy alone, which costs more."
        )
        build = Info(PREFIX + "build", "What runs, in which version.", registry=self.registry)
        build.info({"version": version, "process": process})
        ProcessCollector(registry=self.registry)

    def set_partition_state(self, topic: str, partition: int, state: str, code: str = "") -> None:
        """``code`` is the error code of a stopped partition. Raises `ValueError` unless ``state``
        is one of `PARTITION_STATES`."""
        if state not in PARTITION_STATES:
            raise ValueError(f"{state!r} is not one of {PARTITION_STATES}")
        for name in PARTITION_STATES:
            self.partition.state.labels(topic, partition, name).set(name == state)
        own = {"topic": topic, "partition": str(partition)}
        self.partition.stopped.remove_by_labels(own)
        if code:
            self.partition.stopped.labels(topic, partition, code).set(1)

    def forget_partition(self, topic: str, partition: int) -> None:
        """Drop the gauges of a partition that this process no longer owns; counters stay."""
        own = {"topic": topic, "partition": str(partition)}
        for gauge in (
            self.intake.lag_records,
            self.intake.append_lag_seconds,
            self.intake.event_time_lag_seconds,
            self.intake.held_back_seconds,
            self.intake.clock_ahead_seconds,
            self.intake.quarantined_tenants,
            self.intake.tenants_over_letter_quota,
            self.commit.held_windows,
            self.partition.state,
            self.partition.stopped,
            self.partition.waits,
            self.state.pressure_ratio,
            self.state.live_windows,
            self.state.bytes,
            self.state.changelog_live_bytes,
            self.state.changelog_log_bytes,
            self.state.unacked_rows,
        ):
            gauge.remove_by_labels(own)
