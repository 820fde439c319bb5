"""A short history of a few models, so that the page about training has something to show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

TENANT = "tenant-0000"
"""The tenant that has the most events of a synthetic stream, too."""
MODELS = ("model-000", "model-001", "model-002")
VERSIONS = 3
_STEP_MS = 600_000


def trained_models(now_ms: int, seed: int) -> Iterator[dict[str, Any]]:
    """Events of `train.results`, oldest first: each model's versions, the last one in production."""
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
