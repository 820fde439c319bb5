"""Synthetic `decision.simulation.request`s: repeats, conflicts and poison among ordinary ones.
Request i depends on the seed alone."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.core.errors import UsageError
from streams.dev.workload.generator import EventBlock

SHARES_MAX = 0.9
_RECENT = 2000
"""a repeat uses one of the last so many keys"""
_POISONS = (b"{", b'{"request_id": 7}', b"\xff\xfe", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWorkload:
    """``duplicates``, ``conflicts`` and ``poison`` are shares of all requests. Without
    ``policies``, requests name none."""

    start_ms: int
    seed: int = 1
    tenants: int = 30
    duplicates: float = 0.05
    conflicts: float = 0.01
    poison: float = 0.001
    high: float = 0.2
    trials: int = 1000
    step_ms: float = 10.0
    policies: Sequence[str] = ()

    def __post_init__(self) -> None:
        special = self.duplicates + self.conflicts + self.poison
        if not 0 <= special <= SHARES_MAX:
            raise UsageError(f"the shares sum up to {special:g}, allowed are 0 to {SHARES_MAX:g}.")


@dataclass(slots=True)
class RequestOracle:
    """Of the requests generated so far, within the TTL."""

    keys: int = 0
    repeats: int = 0
    conflicts: int = 0
    poison: int = 0
    asked: dict[str, str] = field(default_factory=dict)
    """request id to tenant and idempotency key"""
    high: set[str] = field(default_factory=set)


class RequestGenerator:
    def __init__(self, workload: RequestWorkload) -> None:
        self.oracle = RequestOracle()
        self._workload = workload
        # keys of a later run differ
        self._rng = random.Random(f"{workload.seed} {workload.start_ms}")
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._number = 0

    def blocks(self, requests: int, block_requests: int) -> Iterator[EventBlock]:
        for begin in range(0, requests, block_requests):
            drawn = [self._next() for _ in range(min(block_requests, requests - begin))]
            yield EventBlock([key for key, _ in drawn], [value for _, value in drawn])

    def _next(self) -> tuple[bytes, bytes]:
        shape, rng, oracle = self._workload, self._rng, self.oracle
        number, self._number = self._number, self._number + 1
        draw = rng.random()
        if draw < shape.poison:
            oracle.poison += 1
            return b"tenant-0000", _POISONS[number % len(_POISONS)]
        draw -= shape.poison
        name = f"{rng.getrandbits(64):016x}"
        if self._recent and draw < shape.duplicates + shape.conflicts:
            request = dict(rng.choice(self._recent))
            if draw < shape.conflicts:
                oracle.conflicts += 1
                request["trials"] += 1
                return self._rendered(request, name, number)
            oracle.repeats += 1
        else:
            oracle.keys += 1
            request = self._ordinary(f"key-{name}")
            self._recent.append(request)
        oracle.asked[f"req-{name}"] = f"{request['tenant_id']}/{request['idempotency_key']}"
        return self._rendered(request, name, number)

    def _ordinary(self, key: str) -> dict[str, Any]:
        rng, shape = self._rng, self._workload
        mean = round(rng.uniform(50, 150), 3)
        policy = {"policy_id": rng.choice(shape.policies)} if shape.policies else {}
        return {
            **policy,
            "idempotency_key": key,
            "tenant_id": f"tenant-{rng.randrange(shape.tenants):04d}",
            "model_id": f"model-{rng.randrange(20):03d}",
            "scenario": "monte_carlo",
            "trials": shape.trials,
            "parameters": {
                "variables": {
                    "demand": {"kind": "lognormal", "mu": 4.0, "sigma": 0.3},
                    "price": {"kind": "normal", "mean": mean, "sd": 5.0},
                },
                "outcome": "demand * (price - 40)",
                "bounds": [2000.0],
            },
        }

    def _rendered(self, request: dict[str, Any], name: str, number: int) -> tuple[bytes, bytes]:
        shape, rng = self._workload, self._rng
        high = rng.random() < shape.high
        if high:
            self.oracle.high.add(f"req-{name}")
        event = {
            "request_id": f"req-{name}",
            **request,
            "priority": rng.randint(5, 9) if high else rng.randint(0, 4),
            "ts": shape.start_ms + int(number * shape.step_ms),
        }
        return event["tenant_id"].encode(), json.dumps(event, separators=(",", ":")).encode()
