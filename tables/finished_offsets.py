"""Which requests above the prefix are finished, and as what: one entry, rewritten as it changes.

It is small by construction: a partition reads at most ``max_ahead`` offsets past its prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from tables.table import Entry

APPLIED: Final = "applied"
DUPLICATE: Final = "duplicate"
"""Verdicts; any other one is the code of a dead letter."""

_KEY: Final = b""
_BYTES_PER_OFFSET: Final = 120

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, list[int]]).decode


class FinishedOffsets:
    """The `Table` of finished offsets of one partition (protocol: tables/table.py)."""

    def __init__(self) -> None:
        self._verdicts: dict[int, str] = {}
        self._written = False
        self.changed = False

    def __len__(self) -> int:
        return len(self._verdicts)

    def __contains__(self, offset: int) -> bool:
        return offset in self._verdicts

    @property
    def bytes_used(self) -> int:
        return len(self._verdicts) * _BYTES_PER_OFFSET

    def finish(self, offset: int, verdict: str) -> None:
        """The request at ``offset`` is finished, from the next commit on."""
        assert offset not in self._verdicts, "a request is finished once"
        self._verdicts[offset] = verdict
        self.changed = True

    def take(self, offset: int) -> str | None:
        """The verdict of the prefix's next request, which leaves the table; None while it is
        unfinished."""
        verdict = self._verdicts.pop(offset, None)
        self.changed |= verdict is not None
        return verdict

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for _, value in items:
            for verdict, offsets in _decode(value).items():
                self._verdicts.update(dict.fromkeys(offsets, verdict))
            self._written = True

    def delta(self, seq: int) -> list[Entry]:
        if not self.changed:
            return []
        self.changed = False
        written, self._written = self._written, bool(self._verdicts)
        if not self._verdicts:
            return [(_KEY, None)] if written else []
        by_verdict: dict[str, list[int]] = {}
        for offset in sorted(self._verdicts):
            by_verdict.setdefault(self._verdicts[offset], []).append(offset)
        return [(_KEY, _encode(by_verdict))]

    def rewrite(self, key: bytes, value: bytes) -> None:
        self.changed = True
