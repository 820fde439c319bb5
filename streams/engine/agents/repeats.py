"""Events whose ids are refused: what came before with another payload, and what is beyond a share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core.records.bad_records import IdempotencyConflict, TenantOverQuota
from streams.engine.agents.agent import EventBatch
from streams.engine.identities.seen_events import Verdict

_OVER_QUOTA: Final = (
    "the tenant has its share of the event ids that the partition remembers (DIA_QUOTA_IDS, "
    "DIA_MAX_IDS); they are forgotten after DIA_DEDUPE_TTL_S"
)


class RefusedId(NamedTuple):
    """``row``: the index of the event in its batch."""

    row: int
    code: str
    why: str


def refused_ids(
    batch: EventBatch[Any], ids: str, verdicts: NDArray[np.int8]
) -> Iterator[RefusedId]:
    """``verdicts``: of `SeenEvents.admit`, one for each event; ``ids``: the field of their ids."""
    for index in np.flatnonzero(verdicts == Verdict.CONFLICT).tolist():
        why = (
            f"{ids} {getattr(batch.events[index], ids)!r} came before with another payload within "
            "DIA_DEDUPE_TTL_S"
        )
        yield RefusedId(index, IdempotencyConflict.code, why)
    for index in np.flatnonzero(verdicts == Verdict.OVER_QUOTA).tolist():
        yield RefusedId(index, TenantOverQuota.code, _OVER_QUOTA)
