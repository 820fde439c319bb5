"""Automatic replays as data: which dead letters are replayed after which condition.

    [[policy]]
    name = "policy-service-back"
    topic = "decision.simulation.request"
    errors = ["retries_exhausted"]
    after = "policy_service"    # only while it answers and its breaker is closed
    quiet_s = 60                # seconds without a new such dead letter
    rate = 50                   # dead letters a second
    hops_max = 2                # parked after so many replays

The replay agent runs each as an ordinary plan (agent/automation.py). ``errors`` are codes of dead
letters: dia's that the topic can have, and the app's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streams.core.errors import UsageError, is_code
from streams.core.records.bad_records import DEAD_LETTER_CODES
from streams.core.records.fields import Name
from streams.core.topics.topology import Topology
from streams.operate.error_codes import error_codes
from streams.operate.replay.plan.plan import HOPS_MAX

Dependency: TypeAlias = Literal["policy_service"]

_HOPS_CEILING: Final = 100
_DAY_S: Final = 86_400

_Words: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=100)]


class ReplayPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``tenants`` empty: every tenant."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    topic: str
    errors: Annotated[_Words, Meta(min_length=1)]
    tenants: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    after: Dependency | None = None
    quiet_s: Annotated[float, Meta(ge=0, le=_DAY_S)] = 60.0
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] = 50.0
    hops_max: Annotated[int, Meta(ge=1, le=_HOPS_CEILING)] = HOPS_MAX

    @property
    def actor(self) -> str:
        """Of its plans, in the journal and in ClickHouse."""
        return f"policy {self.name}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: tuple[ReplayPolicy, ...] = ()


def read_policies(path: str, topology: Topology) -> tuple[ReplayPolicy, ...]:
    """None for "". Raises `UsageError` with the defect."""
    if not path:
        return ()
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        found = msgspec.convert(document, _File).policy
        _check(found, topology)
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    else:
        return found
    raise UsageError(
        f"DIA_REPLAY_POLICY_FILE={path} cannot be used: {why}. Mend or unset it; "
        f"`dia replay policies` shows how it is read."
    )


def own_codes(policy: ReplayPolicy) -> list[str]:
    """The codes of ``policy`` that are not dia's: only the app's agents can give them."""
    return [code for code in policy.errors if code not in DEAD_LETTER_CODES]


def _check(policies: tuple[ReplayPolicy, ...], topology: Topology) -> None:
    names: set[str] = set()
    for policy in policies:
        if policy.name in names:
            raise ValueError(f"two policies are named {policy.name}")
        if policy.topic not in topology.by_name:
            raise ValueError(f"policy {policy.name}: {policy.topic} is not one of {topology.names}")
        _check_codes(policy)
        names.add(policy.name)


def _check_codes(policy: ReplayPolicy) -> None:
    """An app's own codes are unknown here; dia's other errors never are those of a dead letter."""
    never = {error.code for error in error_codes()} - DEAD_LETTER_CODES
    if strange := [code for code in policy.errors if code in never or not is_code(code)]:
        raise ValueError(
            f"policy {policy.name}: no dead letter has the code {', '.join(strange)}; there are "
            f"{', '.join(sorted(DEAD_LETTER_CODES))}, and the app's own"
        )
