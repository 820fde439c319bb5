"""Fingerprints of an event's identity and payload.

All are AES-CMACs (streams/engine/windows/cmac.py) under keys derived from the *secret* of the
partition's chain, so that a tenant cannot compute ids that collide (docs/protocols/changelog.md).

    names     N_d(name)             one key a dimension d: tenant, model, metric, run
    identity  I(N_tenant || id)     of the event id; of a record without one V(N_tenant || value)
    series    N_tenant ^ N_model ^ N_metric
    payload   P(series [^ N_run] || ts || value), 64 bits; the *decoded* fields, so that white
              space, field order or unknown fields do not make a repeat a conflict
    scalars   F(T || words), T = F_t(F_t(0 || text) || text...) over the texts of an event of scalar
              fields that are not null, in the order of fields; words: which fields are null, a bit
              each, and the 64 bits of each number, 0 if null

A tenant that sends a million ids a second for a year, against 20 million remembered ids of others,
hits one with a probability of 2^-59. A payload is compared only with that of the same event, so 64
bits are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import compress
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.record_shape import KIND, TEXT
from streams.core.records.event_fields import Texts
from streams.core.records.text_spans import TextSpans
from streams.engine.decode.scanned_events import ScannedFields
from streams.engine.windows.cmac import KEY_BYTES, SHORT_BYTES, Cmac, Macs
from streams.engine.windows.minutes.names import NameCodes, SeriesNames, split

SECRET_BYTES: Final = KEY_BYTES
Entropy: TypeAlias = Callable[[int], bytes]
"""Returns that many random bytes: `os.urandom`, or the source of a simulation."""
_OWNERS_MAX: Final = 100_000
_WORD_BYTES: Final = 8


class Fingerprints:
    """For one chain; all sequences are parallel. ``secret`` has `SECRET_BYTES`."""

    def __init__(self, secret: bytes) -> None:
        root = Cmac(secret)

        def under(purpose: str) -> Cmac:
            return Cmac(root.one(f"dia fingerprint {purpose}".encode()))

        self._tenants, self._models = under("tenant"), under("model")
        self._metrics, self._runs = under("metric"), under("run")
        self._ids, self._values = under("id"), under("value")
        self._payloads, self._said = under("payload"), under("said")
        self._texts, self._scalars = under("text"), under("scalars")
        self._owners = NameCodes("tenant")

    def tenants(self, names: Sequence[str]) -> Macs:
        return _of_texts(self._tenants, names)

    def owners(self, tenants: Texts) -> tuple[Macs, NDArray[np.int64], Sequence[str]]:
        """The fingerprint of each tenant, a number for it, and the names by number. A fingerprint is
        computed once for each of the last `_OWNERS_MAX` tenants or so."""
        if len(self._owners) > _OWNERS_MAX:
            self._owners = NameCodes("tenant")
        codes = self._owners.codes(tenants)
        return self._owners.digests(self.tenants).take(codes, 0), codes, self._owners.names

    def series(self, names: SeriesNames, keys: NDArray[np.int64]) -> tuple[Macs, Macs]:
        """Fingerprints of tenant and series of each series key."""
        t, m, x = split(keys)
        tenants = names.tenants.digests(self.tenants).take(t, 0)
        series = names.models.digests(lambda new: _of_texts(self._models, new)).take(m, 0)
        series ^= names.metrics.digests(lambda new: _of_texts(self._metrics, new)).take(x, 0)
        series ^= tenants
        return tenants, series

    def identities(
        self,
        event_ids: Texts,
        tenants: Macs,
        values: Sequence[bytes | None],
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        named = _named(event_ids)
        if named is None:
            macs = _of_texts(self._ids, event_ids, tenants)
            return macs[:, 0].copy(), macs[:, 1].copy()
        macs = np.empty((len(named), 2), np.uint64)
        macs[named] = _of_texts(self._ids, _chosen(event_ids, named), tenants[named])
        bare = [values[row] or b"" for row in np.flatnonzero(~named).tolist()]
        macs[~named] = self._values.many(bare, tenants[~named])
        return macs[:, 0].copy(), macs[:, 1].copy()

    def payloads(
        self,
        series: Macs,
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        run_ids: Texts,
    ) -> NDArray[np.uint64]:
        """Of each event's decoded fields. ``-0.0`` and ``0.0`` are the same value."""
        named = _named(run_ids)
        if named is None:
            series = series ^ _of_texts(self._runs, run_ids)
        elif named.any():
            series = series.copy()
            series[named] ^= _of_texts(self._runs, _chosen(run_ids, named))
        fields = np.stack([ts_ms.view(np.uint64), (values + 0.0).view(np.uint64)], axis=1)
        return self._payloads.pairs(series, fields)[:, 0].copy()

    def scalars(self, fields: ScannedFields, without: Container[str]) -> NDArray[np.uint64]:
        """64 bits of all fields of each event but ``without``."""
        count = len(fields)
        texts, words = np.zeros((count, 2), np.uint64), [np.zeros(count, np.uint64)]
        for place, name in enumerate(fields.table.places):
            if name in without:
                continue
            lacking = fields.lacking(name)
            words[0] |= lacking.astype(np.uint64) << np.uint64(place)
            if fields.table.shape[place, KIND] != TEXT:
                words.append(fields.filled(name).view(np.uint64))
            elif not lacking.any():
                texts = _of_texts(self._texts, fields.texts(name), texts)
            else:
                named, texts = ~lacking, texts.copy()
                texts[named] = _of_texts(self._texts, fields.texts(name).take(named), texts[named])
        size = _WORD_BYTES * len(words)
        padded = np.zeros(len(words) * count + SHORT_BYTES // _WORD_BYTES, np.uint64)
        padded[: len(words) * count].reshape(count, len(words))[:] = np.stack(words, axis=1)
        starts, sizes = np.arange(0, size * count, size), np.full(count, size, np.int64)
        return self._scalars.spans(padded.view(np.uint8), starts, sizes, texts)[:, 0].copy()

    def said(self, texts: Sequence[bytes]) -> NDArray[np.uint64]:
        """64 bits of each canonical text of a payload."""
        return self._said.many(texts)[:, 0].copy()


def _named(texts: Texts) -> NDArray[np.bool_] | None:
    """Which are not None; None: all."""
    if isinstance(texts, TextSpans):
        return None if texts.absent is None else ~texts.absent
    if None not in texts:
        return None
    return np.array([text is not None for text in texts], np.bool_)


def _chosen(texts: Texts, rows: NDArray[np.bool_]) -> Texts:
    return texts.take(rows) if isinstance(texts, TextSpans) else [*compress(texts, rows)]


def _of_texts(cmac: Cmac, texts: Texts, prefixes: Macs | None = None) -> Macs:
    """``texts`` without None."""
    if isinstance(texts, TextSpans):
        return cmac.spans(texts.buffer, texts.at, texts.size, prefixes)
    texts = cast(Sequence[str], texts)
    joined = "".join(texts)
    encoded = joined.encode()
    if len(encoded) != len(joined):
        return cmac.many([text.encode() for text in texts], prefixes)
    return cmac.joined(encoded, np.fromiter(map(len, texts), np.int64, len(texts)), prefixes)
