"""The file of a load test, as TOML; docs/loadtest.md describes it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from streams.core.errors import UsageError
from streams.core.words.moments import span_s
from streams.operate.loadtest.schedule import DUE_MAX, expected_requests

PROBES: Final = "probes"
"""the name of the flow that measures freshness"""
EXAMPLE: Final = Path(__file__).with_name("platform.toml")
FILE_BYTES_MAX: Final = 1 << 20
FLOWS_MAX: Final = 20
DURATION_MAX_S: Final = 86_400
RATE_MAX_PER_S: Final = 20_000.0
IN_FLIGHT_MAX: Final = 10_000
BATCH_MAX: Final = 10_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")


class LatencyBounds(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Bounds of one flow; absent: none. ``failures`` is a share of all requests due;
    ``requests_per_s`` and ``events_per_s`` are the least that must be answered as expected while
    requests are due: answers behind the test are none of a rate."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    failures: float | None = None
    requests_per_s: float | None = None
    events_per_s: float | None = None


class OverallBounds(LatencyBounds, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Those of all flows together. ``freshness_p95_s``: from the time at which a probe is due to its
    row in an answer of the console. ``exact``: each accepted event counted once."""

    freshness_p95_s: float | None = None
    exact: bool = False


class ConsoleQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One question of a flow, drawn by ``weight``; values of ``query`` may hold placeholders."""

    path: str
    query: dict[str, str] = {}
    weight: float = 1.0


class LoadFlow(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Either ``post``, a topic of the edge with its ``event``, or ``get``, questions of the console.
    Either ``rate``, requests a second behind the ramp, or ``users`` that each pause for ``pause``."""

    name: str
    post: str = ""
    get: list[ConsoleQuery] = []
    event: dict[str, Any] = {}
    batch: int = 1
    rate: float | None = None
    users: int | None = None
    pause: str = "1s"
    note: str = ""
    thresholds: LatencyBounds = LatencyBounds()

    @property
    def rate_per_s(self) -> float:
        """Raises `UsageError` unless there is either of ``rate`` and ``users``."""
        if (self.rate is None) == (self.users is None):
            raise UsageError(f"flow {self.name} has either rate or users.")
        if self.rate is not None:
            return self.rate
        return (self.users or 0) / span_s(self.pause, f"pause of flow {self.name}")


class FreshnessProbes(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One event each ``every`` with a series of its own, of ``tenants`` in turn, until the console
    shows it. One that is refused, or not seen within ``wait``, is fresh within no bound."""

    topic: str
    tenants: list[str]
    every: str = "2s"
    wait: str = "60s"


class LoadTestFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``drain``: how long answers are awaited behind the last due request; ``timeout``: of one
    request; ``in_flight``: most open requests of a flow."""

    name: str
    duration: str
    ramp: str = ""
    scale: float = 1.0
    """factor of all rates, and of the targets that are rates"""
    arrivals: Literal["even", "poisson"] = "poisson"
    seed: int = 1
    in_flight: int = 200
    timeout: str = "30s"
    drain: str = "30s"
    exact_wait: str = "90s"
    shared: bool = False
    """others send to the same topics: only rows of this test are compared"""
    flow: list[LoadFlow]
    freshness: FreshnessProbes | None = None
    thresholds: OverallBounds = OverallBounds()

    @property
    def duration_s(self) -> int:
        return span_s(self.duration, "duration")

    @property
    def ramp_s(self) -> int:
        return span_s(self.ramp, "ramp") if self.ramp else 0

    def at_scale(self) -> LoadTestFile:
        """With ``scale`` in its rates and targets."""
        if self.scale == 1:
            return self
        flows = [
            msgspec.structs.replace(
                flow,
                rate=flow.rate_per_s * self.scale,
                users=None,
                thresholds=_scaled(flow.thresholds, self.scale),
            )
            for flow in self.flow
        ]
        bounds = _scaled(self.thresholds, self.scale)
        return msgspec.structs.replace(self, scale=1.0, flow=flows, thresholds=bounds)


Bounds = TypeVar("Bounds", bound=LatencyBounds)


def _scaled(bounds: Bounds, scale: float) -> Bounds:
    rates = {
        name: None if (bound := getattr(bounds, name)) is None else bound * scale
        for name in ("requests_per_s", "events_per_s")
    }
    return msgspec.structs.replace(bounds, **rates)


def read_file(path: Path, changes: Mapping[str, Any] | None = None) -> LoadTestFile:
    """At its scale. ``changes`` take the place of fields of the file. Raises `UsageError` that names
    the field of a file that is no load test."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes.")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the load test {path} cannot be read: {error}.") from error
    return parsed({**content, **(changes or {})}, str(path))


def parsed(content: Mapping[str, Any], name: str) -> LoadTestFile:
    try:
        found = msgspec.convert(content, LoadTestFile)
    except msgspec.ValidationError as error:
        raise UsageError(f"the load test {name}: {error}.{_near(str(error))}") from error
    if not 0 < found.scale < math.inf:
        raise UsageError(f"the load test {name}: scale is above 0.")
    found = found.at_scale()
    _check(found, name)
    return found


def _near(said: str) -> str:
    """The known field whose name is nearest to an unknown one."""
    found = _UNKNOWN.search(said)
    if found is None:
        return ""
    kind: type[msgspec.Struct] = LoadTestFile
    for part, one in (
        (".flow[", LoadFlow),
        (".get[", ConsoleQuery),
        (".freshness", FreshnessProbes),
        (".thresholds", LatencyBounds if ".flow[" in (found[2] or "") else OverallBounds),
    ):
        if part in (found[2] or ""):
            kind = one
    names = [field.name for field in msgspec.structs.fields(kind)]
    near = get_close_matches(found[1], names, n=1)
    return f" Did you mean `{near[0]}`?" if near else f" It takes {', '.join(names)}."


def _check(test: LoadTestFile, file: str) -> None:
    def refuse(unless: bool, text: str) -> None:
        if not unless:
            raise UsageError(f"the load test {file}: {text}.")

    for where, bounds in (
        ("", test.thresholds),
        *((f"flow {one.name}: ", one.thresholds) for one in test.flow),
    ):
        for field, bound in msgspec.structs.asdict(bounds).items():
            refuse(
                bound is None or 0 <= bound < math.inf, f"{where}thresholds.{field} is 0 or more"
            )
        refuse((bounds.failures or 0) <= 1, f"{where}thresholds.failures is a share, 1 at most")
    refuse(_NAME.fullmatch(test.name) is not None, "name is of lower-case letters, digits, - and _")
    refuse(1 <= len(test.flow) <= FLOWS_MAX, f"it has 1 to {FLOWS_MAX} flows")
    refuse(len({flow.name for flow in test.flow}) == len(test.flow), "two flows have one name")
    refuse(test.duration_s <= DURATION_MAX_S, f"duration is at most {DURATION_MAX_S} s")
    refuse(test.ramp_s <= test.duration_s, "ramp is at most duration")
    refuse(1 <= test.in_flight <= IN_FLIGHT_MAX, f"in_flight is 1 to {IN_FLIGHT_MAX}")
    spans = {"timeout": test.timeout, "drain": test.drain, "exact_wait": test.exact_wait}
    if test.freshness is not None:
        spans |= {"freshness.every": test.freshness.every, "freshness.wait": test.freshness.wait}
        refuse(bool(test.freshness.tenants), "freshness.tenants names at least one tenant")
    for name, span in spans.items():
        refuse(span_s(span, name) <= 600, f"{name} is at most 600s")
    posts = any(flow.post for flow in test.flow)
    refuse(posts or not test.thresholds.exact, "thresholds.exact needs a flow with post")
    if test.thresholds.freshness_p95_s is not None:
        refuse(test.freshness is not None, "thresholds.freshness_p95_s needs [freshness]")
    for flow in test.flow:
        _check_flow(
            flow, test, lambda unless, text, name=flow.name: refuse(unless, f"flow {name}: {text}")
        )


def _check_flow(flow: LoadFlow, test: LoadTestFile, refuse: Any) -> None:
    refuse(
        _NAME.fullmatch(flow.name) is not None and flow.name != PROBES,
        f"name is of lower-case letters, digits, - and _, and not {PROBES}",
    )
    refuse(bool(flow.post) != bool(flow.get), "it has either post or get")
    refuse(bool(flow.post) == bool(flow.event), "event belongs to post")
    refuse(
        0 < flow.rate_per_s <= RATE_MAX_PER_S,
        f"above 0 and at most {RATE_MAX_PER_S:g} requests a second",
    )
    refuse(1 <= flow.batch <= BATCH_MAX, f"batch is 1 to {BATCH_MAX}")
    refuse(all(one.path.startswith("/") for one in flow.get), "a path begins with /")
    refuse(all(0 < one.weight < 1e6 for one in flow.get), "a weight is above 0")
    count = expected_requests(flow.rate_per_s, test.duration_s, test.ramp_s)
    refuse(1 <= count <= DUE_MAX, f"{count:,.1f} requests; 1 to {DUE_MAX:,} are possible")
