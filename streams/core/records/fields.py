"""Field types shared by every event: names, times and finite numbers, with their bounds."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

VALUE_MAX = 1e150
"""Largest magnitude of a number that is summed: its square must stay a finite double."""

INT64_MAX = 2**63 - 1

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
"""An identifier or label: 1 to 128 characters, counted as Unicode code points."""

EventTimeMs: TypeAlias = Annotated[int, Meta(ge=0, le=INT64_MAX)]
"""Milliseconds since the epoch, UTC. How far it may lie from its append time is judged by the
pipeline, not by the schema."""

Finite: TypeAlias = Annotated[float, Meta(ge=-VALUE_MAX, le=VALUE_MAX)]
"""A number that can be summed and squared; NaN and the infinities are not JSON."""
