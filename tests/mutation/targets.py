"""Which modules are measured, and which tests check each: unit, property and in-memory contract
tests. Only these count, so a survivor may still be caught by the tests on the real stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

# The first prefix of a path determines its tests.
TARGETS: dict[str, tuple[str, ...]] = {
    "streams/core/resilience/breaker.py": (
        "tests/properties/test_breaker_laws.py",
        "tests/unit/core/resilience/test_breaker.py",
    ),
    "streams/core/resilience/retry.py": (
        "tests/properties/test_retry_laws.py",
        "tests/unit/core/resilience/test_retry.py",
    ),
    "streams/connect/policy/change.py": ("tests/contract/cache/test_policy_changed.py",),
    "streams/connect/policy/": (
        "tests/unit/connect/policy/test_policy.py",
        "tests/contract/test_policy_service.py",
    ),
    "streams/connect/cache/kind.py": ("tests/unit/connect/cache/test_cache_lives.py",),
    "streams/connect/cache/local.py": (
        "tests/unit/connect/cache/test_local_cache.py",
        "tests/unit/connect/cache/test_cache.py",
    ),
    "streams/connect/cache/single_flight.py": (
        "tests/unit/connect/cache/test_single_flight.py",
        "tests/unit/connect/cache/test_cache.py",
    ),
    "streams/connect/cache/cached_value.py": ("tests/unit/connect/cache/test_cached_value.py",),
    "streams/connect/cache/invalidations.py": (
        "tests/unit/connect/cache/test_invalidations.py",
        "tests/unit/connect/cache/test_sealed_cache.py",
    ),
    "streams/connect/cache/sealed.py": (
        "tests/unit/connect/cache/test_sealed_cache.py",
        "tests/unit/connect/cache/test_cache.py",
    ),
    "streams/connect/cache/write_behind.py": ("tests/unit/connect/cache/test_write_behind.py",),
    "streams/connect/cache/": (
        "tests/unit/connect/cache/test_cache.py",
        "tests/unit/connect/cache/test_cache_lives.py",
        "tests/unit/connect/cache/test_local_cache.py",
        "tests/unit/connect/cache/test_sealed_cache.py",
        "tests/properties/test_cache_age_laws.py",
        "tests/properties/test_cache_laws.py",
    ),
    "streams/core/degradation/": (
        "tests/unit/core/degradation",
        "tests/properties/test_fading_laws.py",
    ),
    "streams/engine/pool/frame.py": (
        "tests/unit/engine/pool/test_child.py",
        "tests/contract/test_job_pool.py",
    ),
    "streams/engine/pool/processes.py": (
        "tests/unit/engine/pool/test_processes.py",
        "tests/contract/test_job_pool.py",
    ),
    "streams/engine/pool/worker_process.py": (
        "tests/unit/engine/pool/test_worker_process.py",
        "tests/contract/test_job_pool.py",
    ),
    "streams/engine/pool/": ("tests/contract/test_job_pool.py",),
    "streams/connect/access/request_rate.py": (
        "tests/properties/test_request_rate_laws.py",
        "tests/properties/test_quota_laws.py",
    ),
    "streams/engine/runtime/partition/pressure.py": ("tests/unit/engine/runtime/test_pressure.py",),
    "streams/engine/runtime/jobs/fair_queue.py": ("tests/properties/test_fair_queue_laws.py",),
    "streams/engine/runtime/poison/poison.py": (
        "tests/unit/engine/runtime/test_poison.py",
        "tests/properties/test_poison_laws.py",
        "tests/unit/core/settings/test_shipped_settings.py",
    ),
    "streams/engine/runtime/poison/poison_register.py": (
        "tests/unit/engine/runtime/test_poison_release.py",
        "tests/unit/engine/runtime/test_poison_register.py",
    ),
    "streams/core/resilience/deadline.py": ("tests/unit/core/resilience/test_deadline.py",),
    "streams/engine/runtime/identity.py": (
        "tests/unit/engine/runtime/test_identity.py",
        "tests/unit/engine/pages/test_group_members.py",
    ),
    "streams/engine/runtime/partition/idle.py": ("tests/unit/engine/runtime/test_idle_watch.py",),
    "streams/engine/runtime/partition/progress.py": (
        "tests/properties/test_progress_laws.py",
        "tests/unit/engine/runtime/test_shedding.py",
    ),
    "streams/connect/sinks/rollup_queue.py": ("tests/unit/connect/sinks/test_rollup_queue.py",),
    "streams/connect/sinks/delivery.py": ("tests/unit/connect/sinks/test_delivery.py",),
    "streams/connect/sinks/waiting_rows.py": (
        "tests/unit/connect/sinks/test_waiting_rows.py",
        "tests/unit/connect/sinks/test_delivery.py",
    ),
    "streams/connect/sinks/sharding.py": ("tests/unit/connect/sinks/test_sharding.py",),
    "streams/connect/sinks/bisection.py": ("tests/unit/connect/sinks/test_bisection.py",),
    "streams/engine/runtime/jobs/dispatcher.py": (
        "tests/unit/engine/runtime/test_dispatcher.py",
        "tests/unit/engine/runtime/test_needs_of_work.py",
    ),
    "streams/engine/runtime/jobs/first_requests.py": (
        "tests/unit/engine/runtime/test_job_partition.py",
        "tests/properties/test_job_key_laws.py",
    ),
    "streams/engine/runtime/jobs/held_requests.py": (
        "tests/unit/engine/runtime/test_held_requests.py",
        "tests/unit/engine/runtime/test_look_ahead.py",
    ),
    "streams/core/settings/reading.py": (
        "tests/unit/core/settings/test_setting_bounds.py",
        "tests/unit/core/settings/test_setting_meanings.py",
    ),
    "streams/engine/runtime/commit/handover.py": (
        "tests/unit/engine/runtime/test_handover.py",
        "tests/unit/engine/runtime/test_row_freshness.py",
        "tests/unit/engine/runtime/test_sinks.py",
        "tests/unit/engine/runtime/test_unknown_targets.py",
        "tests/unit/engine/runtime/test_job_partition.py",
    ),
    "streams/engine/state/weighing.py": ("tests/properties/test_reserved_byte_laws.py",),
    "streams/operate/reset/table_drop.py": (
        "tests/unit/engine/runtime/test_dropped_tables.py",
        "tests/unit/cli/test_tables_command.py",
    ),
    "streams/engine/agents/queue_policy.py": (
        "tests/unit/core/settings/test_job_retries.py",
        "tests/unit/engine/runtime/test_dispatcher.py",
    ),
    "agents/simulator.py": (
        "tests/unit/agents/test_simulator_answers.py",
        "tests/unit/agents/test_simulator.py",
    ),
    "streams/engine/scenarios/": (
        "tests/unit/engine/scenarios/test_scenarios.py",
        "tests/unit/agents/test_simulator.py",
    ),
    "streams/operate/replay/agent/policies.py": (
        "tests/unit/operate/replay/test_replay_policies.py",
    ),
    "streams/operate/replay/run/pace.py": ("tests/unit/operate/replay/test_pace.py",),
    "streams/operate/replay/journal/ranges.py": ("tests/properties/test_offset_set_laws.py",),
    "streams/operate/replay/plan/plan.py": (
        "tests/unit/operate/replay/test_plan.py",
        "tests/unit/operate/replay/test_hop_cap.py",
    ),
    "streams/operate/replay/plan/transforms.py": (
        "tests/unit/operate/replay/test_transforms.py",
        "tests/unit/operate/replay/test_hop_cap.py",
    ),
    "streams/operate/replay/": (
        "tests/unit/operate/replay",
        "tests/contract/replay",
    ),
    **dict.fromkeys(
        ("streams/http/edge/spool.py", "streams/http/edge/frame.py"),
        ("tests/properties/test_spool_laws.py", "tests/unit/http/edge/test_edge_lane.py"),
    ),
    "streams/http/edge/request_batch.py": (
        "tests/unit/http/edge/test_request_batch.py",
        "tests/properties/test_spool_laws.py",
        "tests/unit/http/edge/test_edge_lane.py",
    ),
    "streams/http/edge/shipment.py": (
        "tests/unit/http/edge/test_shipment.py",
        "tests/unit/http/edge/test_edge_lane.py",
        "tests/properties/test_lane_laws.py",
    ),
    # Without the laws of lanes: under a mutant that hangs they take minutes each.
    **dict.fromkeys(
        (
            "streams/http/edge/edge_run.py",
            "streams/http/edge/topic_publisher.py",
        ),
        ("tests/unit/http/edge/test_topic_publisher.py", "tests/unit/http/edge/test_edge_lane.py"),
    ),
    "streams/http/edge/exchange.py": (
        "tests/unit/http/edge/test_receipts.py",
        "tests/unit/http/edge/test_edge_client.py",
    ),
    "streams/http/edge/splitting.py": (
        "tests/unit/http/edge/test_splitting.py",
        "tests/unit/http/edge/test_validation_cost.py",
    ),
    "streams/http/edge/validation_cost.py": ("tests/unit/http/edge/test_validation_cost.py",),
    "streams/http/edge/client.py": (
        "tests/unit/http/edge/test_edge_client.py",
        "tests/unit/core/process/test_proxies.py",
    ),
    "streams/http/edge/": ("tests/unit/http/edge",),
}


# In-memory twins of services, which tests are built on; and code that runs in a separate process,
# where no mutant is loaded.
_LEFT_OUT = {"__init__.py", "stub.py", "memory.py", "memory_locks.py", "inline.py", "child.py"}


def files(root: Path, wanted: Sequence[str]) -> Iterator[str]:
    """Paths below ``root`` of the source files of ``wanted``, or of every target."""
    for name in wanted or TARGETS:
        path = root / name
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        yield from (str(one.relative_to(root)) for one in found if one.name not in _LEFT_OUT)


def tests_of(path: str) -> list[str]:
    """Files and folders of tests. Raises `LookupError` for a path of no target."""
    for prefix, tests in TARGETS.items():
        if path.startswith(prefix):
            return list(tests)
    raise LookupError(f"{path} has no tests in tests/mutation/targets.py")
