"""Fingerprints of events: what identifies one, and what it says.

The identity is 128 bits (xxh3): of the event id, seeded with the tenant's own 64-bit hash; of
the value bytes where a record carries no id. The payload is 64 bits mixed from the *decoded*
fields, so that white space, field order or unknown fields do not make a repeat a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest, xxh3_128_digest

_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)


def identities(
    event_ids: Sequence[str | None], seeds: Sequence[int], values: Sequence[bytes | None]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Both halves of each event's identity; ``seeds`` are the tenants' hashes."""
    digests = b"".join(
        [
            xxh3_128_digest(event_id.encode(), seed)
            if event_id is not None
            else xxh3_128_digest(value or b"", seed)
            for event_id, seed, value in zip(event_ids, seeds, values, strict=True)
        ]
    )
    halves = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()


def payloads(
    series: NDArray[np.uint64],
    ts_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    run_ids: Sequence[str | None],
) -> NDArray[np.uint64]:
    """Hash of each event's decoded fields. ``-0.0`` and ``0.0`` are the same value."""
    mixed = series.copy()
    for column in (ts_ms.view(np.uint64), (values + 0.0).view(np.uint64)):
        mixed ^= column
        mixed *= _MIX
        mixed ^= mixed >> _SHIFT
    unnamed = run_ids.count(None)
    if unnamed == len(run_ids):
        return mixed
    digests = b"".join([xxh3_64_digest((run_id or "").encode()) for run_id in run_ids])
    with_run: NDArray[np.uint64] = (mixed ^ np.frombuffer(digests, ">u8")) * _MIX
    if not unnamed:
        return with_run
    # Only rows that name a run: a payload must not depend on its neighbours in the batch.
    named = np.array([run_id is not None for run_id in run_ids], np.bool_)
    return np.where(named, with_run, mixed)
