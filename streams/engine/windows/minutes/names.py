"""Series names as integers: one int64 per (tenant, model, metric).

A series key packs three codes of 21 bits: tenant, model, metric. Codes exist in memory only; stored
data has the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import StateLimit
from streams.core.records.event_fields import Texts
from streams.core.records.text_spans import TextSpans
from streams.engine.windows.cmac import Macs
from streams.engine.windows.name_spans import NameSpans

CODE_BITS = 21
MAX_CODES = 1 << CODE_BITS
_MASK = MAX_CODES - 1


class NameCodes:
    def __init__(self, dimension: str) -> None:
        self.dimension = dimension
        self.code: dict[str, int] = {}
        self.names: list[str] = []
        self._digests = np.zeros((1024, 2), np.uint64)
        self._digested = 0
        self._sizes = np.zeros(1024, np.int64)
        self._spans: NameSpans | None = None

    def __len__(self) -> int:
        return len(self.names)

    def digests(self, digest: Callable[[Sequence[str]], Macs]) -> Macs:
        """``digest`` of each name, by code. It is called once for each name, so it must always be
        the same."""
        known, self._digested = self._digested, len(self.names)
        if known < self._digested:
            if self._digested > len(self._digests):
                grown = np.zeros((len(self._sizes), 2), np.uint64)
                grown[:known] = self._digests[:known]
                self._digests = grown
            self._digests[known : self._digested] = digest(self.names[known:])
        return self._digests[: self._digested]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each name, by code."""
        return self._sizes[: len(self.names)]

    def add(self, name: str) -> int:
        """The code of ``name``, added if new. Raises `StateLimit` above 2**21 names."""
        known = self.code.get(name)
        if known is not None:
            return known
        code = len(self.names)
        if code >= MAX_CODES:
            raise StateLimit(
                f"more than {MAX_CODES} different {self.dimension} names are alive in one "
                f"partition. Spread the tenants over more partitions: `dia topics plan`."
            )
        if code == len(self._sizes):
            self._sizes = np.concatenate([self._sizes, np.zeros(code, np.int64)])
        self.code[name] = code
        self.names.append(name)
        self._sizes[code] = len(name.encode())
        return code

    def codes(self, names: Texts) -> NDArray[np.int64]:
        """The code of each name, new ones added; no name is None."""
        if isinstance(names, TextSpans):
            return self._codes_of(names)
        return np.array(self._codes(cast(Sequence[str], names)), np.int64)

    def _codes_of(self, names: TextSpans) -> NDArray[np.int64]:
        known = self._spans = self._spans or NameSpans()
        known.add([name.encode() for name in self.names[len(known) :]])
        found, unknown = known.codes(names)
        if unknown:
            rows = np.flatnonzero(found < 0)
            found[rows] = self._codes(cast(Sequence[str], names.take(rows).texts()))
        return found

    def _codes(self, names: Sequence[str]) -> list[int]:
        try:
            return list(map(self.code.__getitem__, names))
        except KeyError:
            for name in dict.fromkeys(names):
                self.add(name)
            return list(map(self.code.__getitem__, names))


class SeriesNames:
    def __init__(self) -> None:
        self.tenants = NameCodes("tenant")
        self.models = NameCodes("model")
        self.metrics = NameCodes("metric")

    def __len__(self) -> int:
        return len(self.tenants) + len(self.models) + len(self.metrics)

    def keys(self, tenants: Texts, models: Texts, metrics: Texts) -> NDArray[np.int64]:
        """Series key of each row of three parallel columns without None."""
        return joined(
            self.tenants.codes(tenants), self.models.codes(models), self.metrics.codes(metrics)
        )

    def room(self) -> int:
        """The number of free codes in the fullest dimension."""
        return MAX_CODES - max(map(len, (self.tenants, self.models, self.metrics)))

    def without_code(self, *columns: Sequence[str]) -> NDArray[np.bool_]:
        """Rows of the three columns with a name for which no code is free."""
        refused = np.zeros(len(columns[0]), np.bool_)
        for codes, column in zip((self.tenants, self.models, self.metrics), columns, strict=True):
            new: set[str] = set()
            for row, name in enumerate(column):
                if name in codes.code or name in new:
                    continue
                if len(codes) + len(new) < MAX_CODES:
                    new.add(name)
                else:
                    refused[row] = True
        return refused

    def series(self, keys: NDArray[np.int64]) -> tuple[list[str], list[str], list[str]]:
        """The names of each key, as three parallel columns."""
        t, m, x = split(keys)
        tenants, models, metrics = self.tenants.names, self.models.names, self.metrics.names
        return (
            [tenants[i] for i in t.tolist()],
            [models[i] for i in m.tolist()],
            [metrics[i] for i in x.tolist()],
        )

    def local(self, keys: NDArray[np.int64]) -> LocalNames:
        t, m, x = split(keys)
        tenants, tenant_code = local_dictionary(t, self.tenants.names)
        models, model_code = local_dictionary(m, self.models.names)
        metrics, metric_code = local_dictionary(x, self.metrics.names)
        return LocalNames(tenants, models, metrics, tenant_code, model_code, metric_code)


class LocalNames(NamedTuple):
    """The names that some keys use, and each key's indexes into them. Fields are named as in
    `WindowRows`."""

    tenants: list[str]
    models: list[str]
    metrics: list[str]
    tenant_code: NDArray[np.int32]
    model_code: NDArray[np.int32]
    metric_code: NDArray[np.int32]


def joined(
    tenants: NDArray[np.int64], models: NDArray[np.int64], metrics: NDArray[np.int64]
) -> NDArray[np.int64]:
    return (tenants << (2 * CODE_BITS)) | (models << CODE_BITS) | metrics


def split(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return keys >> (2 * CODE_BITS), (keys >> CODE_BITS) & _MASK, keys & _MASK


def codes_in_use(codes: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """The distinct codes, ascending, of ``count`` that exist."""
    # A table of all codes: 15 times as fast as sorting the rows.
    there = np.zeros(count, np.bool_)
    there[codes] = True
    return np.flatnonzero(there)


def local_dictionary(
    codes: NDArray[np.int64], names: Sequence[str]
) -> tuple[list[str], NDArray[np.int32]]:
    """The names in use, and each row's index into them."""
    used = codes_in_use(codes, len(names))
    place = np.empty(len(names), np.int32)
    place[used] = np.arange(len(used))
    its: list[int] = used.tolist()
    return [names[code] for code in its], place[codes]


def renumber(names: SeriesNames, keys: NDArray[np.int64]) -> tuple[SeriesNames, NDArray[np.int64]]:
    """New codes for the names that ``keys`` use, and the new keys.

    This drops the names of removed series.
    """
    fresh = SeriesNames()
    columns: list[NDArray[np.int64]] = []
    pairs = zip(
        split(keys),
        (names.tenants, names.models, names.metrics),
        (fresh.tenants, fresh.models, fresh.metrics),
        strict=True,
    )
    for codes, old, new in pairs:
        used, index = np.unique(codes, return_inverse=True)
        mapped = np.array(list(_add_all(new, (old.names[i] for i in used.tolist()))), np.int64)
        columns.append(mapped[index] if len(mapped) else codes)
    t, m, x = columns
    return fresh, joined(t, m, x)


def _add_all(codes: NameCodes, names: Iterable[str]) -> Iterable[int]:
    return (codes.add(name) for name in names)
