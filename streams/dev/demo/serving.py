"""`dia demo --serve`: the stack stays up, with workers, a trickle of events, which are not
reconciled, and the console."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlencode

import msgspec

from agents.app import MODEL_METRICS, SIMULATION_REQUEST, TRAIN_RESULTS
from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from streams.dev.demo.command_process import DIA, CommandProcess, address_of

TENANT = "tenant-0000"
"""the tenant with the most events of a synthetic stream"""
MODELS = ("model-000", "model-001", "model-002")
VERSIONS = 3
_STEP_MS = 600_000


def trained_models(now_ms: int, seed: int) -> Iterator[dict[str, Any]]:
    """Events of `train.results`, oldest first: each model's versions, the last one in
    production."""
    rng = random.Random(seed)
    at_ms = now_ms - len(MODELS) * VERSIONS * _STEP_MS
    for model in MODELS:
        for version in range(1, VERSIONS + 1):
            event = {
                "run_id": f"run-{model[-3:]}-{version}",
                "tenant_id": TENANT,
                "model_id": model,
                "version": f"v{version}",
                "metrics": {
                    "auc": round(0.80 + 0.03 * version + rng.uniform(0, 0.02), 4),
                    "loss": round(0.40 - 0.05 * version + rng.uniform(0, 0.02), 4),
                },
                "ts": at_ms,
            }
            at_ms += _STEP_MS
            name = f"{model}-v{version}"
            yield {**event, "result_id": f"{name}-run", "event": "run_completed"}
            if version == VERSIONS:
                told = {**event, "metrics": {}}
                yield {
                    **told,
                    "result_id": f"{name}-alias",
                    "event": "alias_updated",
                    "alias": "champion",
                }
                moved = {"event": "stage_transitioned", "stage": "production"}
                yield {**told, "result_id": f"{name}-stage", **moved}


TOKEN_DAYS = 1
EVENTS_PER_S = 100
EVENTS = 8_000_000
"""most of a day"""
REQUESTS_PER_S = 1
REQUESTS = 80_000
_DAY_MS = 86_400_000


def serve(
    home: Path, environ: Mapping[str, str], processes: int, seed: int, say: Callable[[str], None]
) -> None:
    """Until Ctrl-C or SIGTERM. Raises `CommandError` when a part ends by itself."""
    with ExitStack() as parts, _told_to_stop() as stopped:

        def start(name: str, *arguments: str) -> CommandProcess:
            command, log = [*DIA, *arguments], home / f"{name}.log"
            child = CommandProcess(name, command, environ=environ, log=log)
            parts.callback(child.stop)
            return child

        lasting = [
            start("workers", "worker", "--processes", str(processes)),
            start("replayer", "worker", "--agents", "replay"),
            start("console", "console", "--port", "0"),
        ]
        # the feed stops first, so that the workers drain its events
        _feed(start, home, seed)
        address = address_of(lasting[-1], stopped)
        if address:
            say(f"\nthe console: {address}/sign-in#{urlencode({'token': _token(home)})}")
            say(f"({EVENTS_PER_S} events a second come in; Ctrl-C stops everything)")
        while not stopped():
            for child in lasting:
                child.check()
            time.sleep(0.2)
        say("stopping")


def _feed(start: Callable[..., CommandProcess], home: Path, seed: int) -> None:
    models = home / "trained-models.jsonl"
    now_ms = SystemClock().now_ms()
    models.write_bytes(
        b"".join(msgspec.json.encode(e) + b"\n" for e in trained_models(now_ms, seed))
    )
    generate = ("--seed", str(seed + 1), "--rate")
    start("feed-models", "produce", TRAIN_RESULTS.name, "--file", str(models))
    events = ("--generate", str(EVENTS), *generate, str(EVENTS_PER_S))
    start("feed-events", "produce", MODEL_METRICS.name, *events)
    requests = ("--generate", str(REQUESTS), *generate, str(REQUESTS_PER_S))
    start("feed-requests", "produce", SIMULATION_REQUEST.name, *requests)


def _token(home: Path) -> str:
    now_ms = SystemClock().now_ms()
    expires_ms = now_ms + TOKEN_DAYS * _DAY_MS
    made = TokenFile.of(home).create(
        tenant=None, role=Role.ADMIN, now_ms=now_ms, expires_ms=expires_ms
    )
    return made[1]


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came; the process ends after its parts."""
    told = False

    def tell(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True

    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, tell) for number in signals]
    try:
        yield lambda: told
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
