"""Detects repeated events, record by record in log order.

Rule: streams/engine/identities/seen_events.py; rows: id_rows.py; hash table and its words:
streams/engine/state/row_table.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.machine import leading_zeros
from streams.core.kernels.row_places import PROBES_MAX

FRESH, DUPLICATE, CONFLICT = range(3)
"""The values of `Verdict`."""

_HI, _LO, _PAYLOAD, _APPEND, _LOG = range(5)
_U = np.uint64
_ROW = _U(0xFFFFFFFF)
_TAG_SHIFT = _U(32)


@inlined
def _is_forgotten(
    rows: NDArray[np.uint64], row: int, append_ms: int, horizon_ms: int, ttl_ms: int
) -> bool:
    """Whether the record appended at ``append_ms`` is too late to repeat a row."""
    if np.int64(rows[row, _LOG]) < horizon_ms:
        return True
    return bool(append_ms - np.int64(rows[row, _APPEND]) > ttl_ms)


@inlined
def _is_later(a: NDArray[np.uint64], i: int, b: NDArray[np.uint64], j: int) -> bool:
    """Whether row i of ``a`` is later than row j of ``b``, of the same event."""
    if a[i, _LOG] != b[j, _LOG]:
        return bool(a[i, _LOG] > b[j, _LOG])
    return bool(a[i, _APPEND] > b[j, _APPEND])


@kernel(
    "Tuple((int64, int64, int64))(uint64[::1], uint64[:, ::1], int64, uint64[:, ::1], "
    "int64[::1], uint64[:, ::1], boolean[::1], int64, int8[::1])"
)
def admit(
    places: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    used: int,
    records: NDArray[np.uint64],
    horizon_ms: NDArray[np.int64],
    older: NDArray[np.uint64],
    there: NDArray[np.bool_],
    ttl_ms: int,
    verdicts: NDArray[np.int8],
) -> tuple[int, int, int]:
    """Judge ``records``, rows in log order, and append fresh ones to ``rows``, of which ``used``
    are in use.

    ``older[i]``, where ``there[i]``, is the row of event i found elsewhere. Returns the number of
    judged records (fewer where the table needs more than `PROBES_MAX` probes), the rows in use, and
    the number of events entered in ``places``. The caller provides room for every record.
    """
    mask = len(places) - 1
    shift = _U(leading_zeros(_U(mask)))
    entered = 0
    for record in range(len(records)):
        hi, lo = records[record, _HI], records[record, _LO]
        place, known, probes = int(np.int64(hi >> shift)), -1, 0
        while places[place] != _U(0) and probes < PROBES_MAX:
            entry = places[place]
            if (entry ^ hi) >> _TAG_SHIFT == _U(0):
                row = int(np.int64(entry & _ROW)) - 1
                if rows[row, _HI] == hi and rows[row, _LO] == lo:
                    known = row
                    break
            place = (place + 1) & mask
            probes += 1
        if probes == PROBES_MAX:
            return record, used, entered
        append_ms = int(np.int64(records[record, _APPEND]))
        verdicts[record] = FRESH
        if there[record] and (known < 0 or _is_later(older, record, rows, known)):
            if not _is_forgotten(older, record, append_ms, horizon_ms[record], ttl_ms):
                same = older[record, _PAYLOAD] == records[record, _PAYLOAD]
                verdicts[record] = DUPLICATE if same else CONFLICT
        elif known >= 0 and not _is_forgotten(rows, known, append_ms, horizon_ms[record], ttl_ms):
            same = rows[known, _PAYLOAD] == records[record, _PAYLOAD]
            verdicts[record] = DUPLICATE if same else CONFLICT
        if verdicts[record] == FRESH:
            for column in range(5):
                rows[used, column] = records[record, column]
            used += 1
            places[place] = (hi >> _TAG_SHIFT << _TAG_SHIFT) | _U(used)
            if known < 0:
                entered += 1
    return len(records), used, entered
