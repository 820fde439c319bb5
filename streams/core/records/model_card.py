"""What is known of a model: kept in the agent's state, in ClickHouse `models`, and in caches."""

from __future__ import annotations

from msgspec import Struct, field


class ModelVersion(Struct, kw_only=True, omit_defaults=True):
    """One version: the run that made it, its stage, and the time of its last result."""

    run_id: str | None = None
    stage: str | None = None
    last_seen_ms: int = 0
    """event time, milliseconds since the epoch"""


class Best(Struct, kw_only=True):
    """Both ends of a metric over all runs: which of them is good, the metric's reader knows."""

    highest: float
    highest_version: str
    lowest: float
    lowest_version: str


class ModelCard(Struct, kw_only=True):
    """``aliases`` maps each alias to its version. The newest versions are listed, and every one
    that an alias names or that has a stage, as far as the bounds of the state allow."""

    tenant_id: str
    model_id: str
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    best: dict[str, Best] = field(default_factory=dict)
