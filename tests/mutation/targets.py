"""Which modules are measured, and which tests hold each: unit, property and in-memory contract
tests. A module is judged by these alone, so a survivor may still be caught by the real stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

# The first prefix that fits a path names its tests.
TARGETS: dict[str, tuple[str, ...]] = {
    "streams/resilience/breaker.py": (
        "tests/properties/test_breaker_laws.py",
        "tests/unit/resilience/test_breaker.py",
    ),
    "streams/resilience/retry.py": (
        "tests/properties/test_retry_laws.py",
        "tests/unit/resilience/test_retry.py",
    ),
    "streams/policy/change.py": ("tests/contract/cache/test_policy_changed.py",),
    "streams/policy/": ("tests/unit/test_policy.py", "tests/contract/test_policy_service.py"),
    "streams/cache/kind.py": ("tests/unit/test_cache_lives.py",),
    "streams/cache/local.py": ("tests/unit/test_local_cache.py", "tests/unit/test_cache.py"),
    "streams/cache/": (
        "tests/unit/test_cache.py",
        "tests/unit/test_cache_lives.py",
        "tests/unit/test_local_cache.py",
        "tests/unit/test_recent.py",
        "tests/unit/test_write_behind.py",
        "tests/properties/test_cache_age_laws.py",
        "tests/properties/test_cache_laws.py",
    ),
    "streams/degradation/": (
        "tests/unit/degradation",
        "tests/properties/test_fading_laws.py",
    ),
    "streams/pool/": ("tests/unit/test_child.py", "tests/contract/test_job_pool.py"),
    "streams/access/request_rate.py": (
        "tests/properties/test_request_rate_laws.py",
        "tests/properties/test_quota_laws.py",
    ),
    "streams/runtime/pressure.py": ("tests/unit/runtime/test_pressure.py",),
    "streams/runtime/fair_queue.py": ("tests/properties/test_fair_queue_laws.py",),
    "streams/runtime/poison.py": (
        "tests/unit/test_poison.py",
        "tests/properties/test_poison_laws.py",
        "tests/unit/test_shipped_settings.py",
    ),
    "streams/runtime/poison_register.py": ("tests/unit/runtime/test_poison_register.py",),
    "streams/runtime/deadline.py": ("tests/unit/test_deadline.py",),
    "streams/runtime/identity.py": ("tests/unit/test_identity.py",),
    "streams/runtime/idle.py": ("tests/unit/test_idle_watch.py",),
    "streams/runtime/progress.py": ("tests/properties/test_progress_laws.py",),
    "streams/sinks/rollup_queue.py": ("tests/unit/test_rollup_queue.py",),
    "streams/sinks/delivery.py": ("tests/unit/test_delivery.py",),
    "streams/sinks/sharding.py": ("tests/unit/test_sharding.py",),
    "streams/sinks/bisection.py": ("tests/unit/test_bisection.py",),
    "streams/runtime/dispatcher.py": (
        "tests/unit/runtime/test_dispatcher.py",
        "tests/unit/runtime/test_needs_of_work.py",
    ),
    "streams/runtime/first_requests.py": (
        "tests/unit/runtime/test_job_partition.py",
        "tests/properties/test_job_key_laws.py",
    ),
    "streams/runtime/held_requests.py": ("tests/unit/runtime/test_look_ahead.py",),
    "streams/settings/reading.py": (
        "tests/unit/test_setting_bounds.py",
        "tests/unit/test_setting_meanings.py",
    ),
    "streams/runtime/handover.py": ("tests/unit/runtime/test_handover.py",),
    "streams/queue_policy.py": (
        "tests/unit/test_job_retries.py",
        "tests/unit/runtime/test_dispatcher.py",
    ),
    "agents/simulator.py": ("tests/unit/test_simulator.py",),
    "streams/scenarios/": ("tests/unit/test_scenarios.py", "tests/unit/test_simulator.py"),
    "streams/replay/policies.py": ("tests/unit/test_replay_policies.py",),
    "streams/replay/": (
        "tests/unit/test_replay_policies.py",
        "tests/unit/test_replay_golden.py",
        "tests/contract/replay",
    ),
    "streams/edge/": (
        "tests/unit/edge",
        "tests/unit/test_edge_lane.py",
        "tests/properties/test_spool_laws.py",
        "tests/properties/test_lane_laws.py",
    ),
}


# Twins of services, which tests are made with.
_DOUBLES = {"__init__.py", "stub.py", "memory.py", "memory_locks.py", "inline.py"}


def files(root: Path, wanted: Sequence[str]) -> Iterator[str]:
    """Paths below ``root`` of the source files of ``wanted``, or of every target."""
    for name in wanted or TARGETS:
        path = root / name
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        yield from (str(one.relative_to(root)) for one in found if one.name not in _DOUBLES)


def tests_of(path: str) -> list[str]:
    """Files and folders of tests. Raises `LookupError` for a path of no target."""
    for prefix, tests in TARGETS.items():
        if path.startswith(prefix):
            return list(tests)
    raise LookupError(f"{path} has no tests in tests/mutation/targets.py")
