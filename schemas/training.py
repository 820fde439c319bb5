"""What happened to a trained model: a run ended, an alias moved, a stage changed."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from streams.core.records.fields import EventTimeMs, Finite, Name

TrainingEvent: TypeAlias = Literal["run_completed", "alias_updated", "stage_transitioned"]


class TrainingResult(Struct, frozen=True, gc=False, kw_only=True):
    """One step in the life of a model version, with the metrics its run ended on."""

    result_id: Name
    run_id: Name
    tenant_id: Name
    model_id: Name
    version: Name
    event: TrainingEvent
    alias: Name | None = None
    stage: Name | None = None
    metrics: dict[str, Finite]
    ts: EventTimeMs
