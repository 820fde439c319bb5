"""Finished requests above the prefix of a job partition, with their verdicts.

An entry is a block of 1,024 offsets: key ``first offset >> 10: u64``, value a msgpack map of
verdict to little-endian bits, 128 bytes for each verdict. A commit writes the blocks that changed
and deletes those behind the prefix, so there are at most ``max_ahead / 1024 + 1`` entries.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from streams.engine.state.table import Entry

APPLIED: Final = "applied"
DUPLICATE: Final = "duplicate"
"""other verdicts are dead letter codes"""

BLOCK: Final = 1024
"""offsets of one entry"""
_KEY: Final = struct.Struct(">Q")
_BITS_BYTES: Final = BLOCK // 8
_VERDICT_BYTES: Final = 300
"""memory of one verdict of one block"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class FinishedOffsets:
    def __init__(self) -> None:
        self._blocks: dict[int, dict[str, int]] = {}
        """bits of offsets by block and verdict"""
        self._written: set[int] = set()
        self._dirty: dict[int, None] = {}
        self._count = 0
        self._verdicts = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, offset: int) -> bool:
        return self._verdict(offset) is not None

    @property
    def changed(self) -> bool:
        return bool(self._dirty)

    @property
    def bytes_used(self) -> int:
        return self._verdicts * _VERDICT_BYTES

    def finish(self, offset: int, verdict: str) -> None:
        assert offset not in self, "a request is finished once"
        self._set(offset, verdict)
        self._dirty[offset // BLOCK] = None

    def among(self, offsets: Iterable[int]) -> set[int]:
        """Those of ``offsets`` that are finished."""
        return {offset for offset in offsets if offset in self} if self._count else set()

    def take(self, offsets: Sequence[int]) -> Counter[str]:
        """Remove the verdicts of ``offsets``, which ascend, up to the first that is unfinished; how
        often each verdict was met."""
        taken: Counter[str] = Counter()
        start = 0
        while start < len(offsets):
            first = offsets[start]
            run = min(self._run(first), offsets[-1] + 1 - first)
            if not run:
                break
            self._take_run(first, run, taken)
            start = bisect_left(offsets, first + run, start)
        return taken

    def _run(self, first: int) -> int:
        """How many offsets from ``first`` on are finished, within its block."""
        finished = 0
        for bits in self._blocks.get(first // BLOCK, {}).values():
            finished |= bits
        ahead = finished >> first % BLOCK
        return (~ahead & ahead + 1).bit_length() - 1

    def _take_run(self, first: int, run: int, taken: Counter[str]) -> None:
        number = first // BLOCK
        block = self._blocks[number]
        mask = (1 << run) - 1 << first % BLOCK
        for verdict, bits in list(block.items()):
            if not bits & mask:
                continue
            taken[verdict] += (bits & mask).bit_count()
            block[verdict] = bits & ~mask
            if not block[verdict]:
                del block[verdict]
                self._verdicts -= 1
        if not block:
            del self._blocks[number]
        self._count -= run
        self._dirty[number] = None

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            (number,) = _KEY.unpack(key)
            self._written.add(number)
            for verdict, raw in _decode(value).items():
                bits = int.from_bytes(raw, "little")
                self._blocks.setdefault(number, {})[verdict] = bits
                self._count += bits.bit_count()
                self._verdicts += 1

    def delta(self, seq: int) -> list[Entry]:
        dirty, self._dirty = self._dirty, {}
        entries: list[Entry] = []
        for number in dirty:
            block = self._blocks.get(number)
            if block is not None:
                named = {name: bits.to_bytes(_BITS_BYTES, "little") for name, bits in block.items()}
                entries.append((_KEY.pack(number), _encode(named)))
                self._written.add(number)
            elif number in self._written:
                entries.append((_KEY.pack(number), None))
                self._written.discard(number)
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._dirty[_KEY.unpack(key)[0]] = None

    def _verdict(self, offset: int) -> str | None:
        block = self._blocks.get(offset // BLOCK)
        if block is not None:
            bit = 1 << offset % BLOCK
            for verdict, bits in block.items():
                if bits & bit:
                    return verdict
        return None

    def _set(self, offset: int, verdict: str) -> None:
        block = self._blocks.setdefault(offset // BLOCK, {})
        bits = block.get(verdict, 0)
        self._verdicts += not bits
        block[verdict] = bits | 1 << offset % BLOCK
        self._count += 1
