"""`dia demo --serve`: a console from the first event on; then the stack and the workers stay up, with a trickle
of events, which are not reconciled."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self
from urllib.parse import urlencode

import msgspec

from agents.app import MODEL_METRICS, SIMULATION_REQUEST, TRAIN_RESULTS
from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import Clock, SystemClock
from streams.core.process.atomic_file import write_atomically
from streams.dev.demo.command_process import DIA, CommandProcess, address_of
from streams.dev.demo.reconcile import DemoVerdict

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


SHOW = (sys.executable, "-m", "streams.dev.demo.show")
"""The console with the demo's page, which `dia console` does not have."""

COMPARED = "compared.json"
"""Of the demo's folder: the checks of its events, once they are compared."""
FEED_AGAIN_S = 5.0
"""before a feed that failed is started again"""


class ServedDemo:
    """The processes that stay beside the workers: the console from the first event on, later the agent of
    replays and feeds. Close it with the ``with`` statement, before the stack stops."""

    def __init__(self, home: Path, seed: int, say: Callable[[str], None]) -> None:
        self._home = home
        self._seed = seed
        self._say = say
        self._parts = ExitStack()
        self._console: CommandProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._parts.close()

    def open_console(self, environ: Mapping[str, str]) -> Callable[[], None]:
        """Start it. What is returned says its address, and raises `CommandError` when it ends or takes
        too long."""
        console = self._console = self._kept("console", SHOW, environ)

        def say() -> None:
            link = f"{address_of(console)}/sign-in#{urlencode({'token': _token(self._home)})}"
            self._say(f"\nthe console: {link}\n")

        return say

    def show_compared(self, verdict: DemoVerdict) -> None:
        """On the demo's page; from now on it may send other records, too."""
        told = [{**check._asdict(), "ok": check.ok} for check in verdict.checks]
        write_atomically(self._home / COMPARED, msgspec.json.encode(told))

    def serve(self, environ: Mapping[str, str], worker: CommandProcess) -> None:
        """Beside the demo's ``worker``, until Ctrl-C or SIGTERM. Raises `CommandError` when a part ends by
        itself."""
        assert self._console is not None, "it was opened before the first event"
        with _told_to_stop() as stopped:
            lasting = [
                self._console,
                worker,
                self._start(environ, "replayer", "worker", "--agents", "replay"),
            ]
            # The feeds stop first, so that the workers drain their events.
            feeds = self._feeds(environ)
            self._say(f"({EVENTS_PER_S} events a second come in; Ctrl-C stops everything)")
            while not stopped():
                for child in lasting:
                    child.check()
                for feed in feeds:
                    feed.keep()
                time.sleep(0.2)
            self._say("stopping")
            # While the services still run: workers drain, and fail against absent ones. The demo's own
            # worker is stopped behind the feeds.
            self._parts.close()

    def _start(self, environ: Mapping[str, str], name: str, *arguments: str) -> CommandProcess:
        return self._kept(name, [*DIA, *arguments], environ)

    def _kept(
        self, name: str, command: Sequence[str], environ: Mapping[str, str]
    ) -> CommandProcess:
        child = CommandProcess(name, command, environ=environ, log=self._home / f"{name}.log")
        self._parts.callback(child.stop)
        return child

    def _feeds(self, environ: Mapping[str, str]) -> list[Feed]:
        models = self._home / "trained-models.jsonl"
        now_ms = SystemClock().now_ms()
        models.write_bytes(
            b"".join(msgspec.json.encode(e) + b"\n" for e in trained_models(now_ms, self._seed))
        )

        def generated(topic: str, events: int, rate: int) -> Callable[[int], Sequence[str]]:
            """Another seed each time: ids that were sent before would be duplicates."""
            return lambda life: (
                *("produce", topic, "--generate", str(events)),
                *("--seed", str(self._seed + 1 + life), "--rate", str(rate)),
            )

        def kept(name: str, arguments: Callable[[int], Sequence[str]]) -> Feed:
            return Feed(
                name,
                lambda life: self._start(environ, name, *arguments(life)),
                self._say,
                SystemClock(),
            )

        file = ("produce", TRAIN_RESULTS.name, "--file", str(models))
        return [
            kept("feed-models", lambda life: file),
            kept("feed-events", generated(MODEL_METRICS.name, EVENTS, EVENTS_PER_S)),
            kept("feed-requests", generated(SIMULATION_REQUEST.name, REQUESTS, REQUESTS_PER_S)),
        ]


class Feed:
    """A producer that is started again after a failure, such as an outage of Kafka that is longer
    than it waits. ``start`` gets the number of earlier lives."""

    def __init__(
        self,
        name: str,
        start: Callable[[int], CommandProcess],
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._name = name
        self._start = start
        self._say = say
        self._clock = clock
        self._life = 0
        self._child = start(0)
        self._again_at: float | None = None

    def keep(self) -> None:
        """Start it again `FEED_AGAIN_S` after it failed; one that has sent all stays ended."""
        now_s = self._clock.monotonic()
        if self._again_at is None:
            if self._child.failed:
                self._again_at = now_s + FEED_AGAIN_S
                self._say(
                    f"{self._name} failed and starts again in {FEED_AGAIN_S:g} s. "
                    f"Its log: {self._child.log}"
                )
        elif now_s >= self._again_at:
            self._life += 1
            self._again_at = None
            self._child = self._start(self._life)


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
