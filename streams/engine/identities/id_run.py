"""A run: about a million remembered events, sorted by hash, in one immutable file.

    rows        n x 40 bytes, ascending by event hash (streams/engine/identities/id_rows.py), in blocks of 102
    first       u64 of each block: its first upper hash half
    digests     u64 of each block: xxh3-64 of its bytes, against damage (not forgery)
    filter      u64 words (streams/engine/identities/id_filter.py)
    entries     i64 pairs: number of each written entry whose rows are here, its latest log time
    trailer     magic, counts, xxh3-64 of everything after the rows

All but the rows is in memory, 2.7 bytes an event. A look-up of an absent event costs a look into
the filter, of a present one a read of 4 KiB that is checked against its digest. A run is derived
from committed entries in the store, so it can be made again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from streams.core.derived_files import FileReader
from streams.core.errors import StoreUnusable
from streams.engine.identities.id_filter import IdFilter
from streams.engine.identities.id_rows import HI, LO, ROW_BYTES, IdRows
from streams.engine.state.runs import ragged

ROWS_PER_BLOCK = 102
BLOCK_BYTES = ROWS_PER_BLOCK * ROW_BYTES
_BLOCKS_AT_ONCE = 2048
_TRAILER = struct.Struct("<8sQQQQQ")
_MAGIC = b"dia-ids2"


@dataclass(frozen=True, slots=True)
class RunIndex:
    count: int
    first: NDArray[np.uint64]
    digests: NDArray[np.uint64]
    filter: IdFilter
    entries: NDArray[np.int64]
    """(number, latest log time in ms) pairs, shape (m, 2)"""

    def encode(self) -> bytes:
        words = self.filter.words
        body = b"".join(
            column.tobytes() for column in (self.first, self.digests, words, self.entries)
        )
        sizes = (self.count, len(self.first), len(words), len(self.entries))
        return body + _TRAILER.pack(_MAGIC, *sizes, xxh3_64_intdigest(body, self.count))


def read_index(file: FileReader) -> RunIndex:
    """Raises `StoreUnusable` for a file that `RunIndex.encode` did not write in full."""
    if file.size < _TRAILER.size:
        raise StoreUnusable(f"{file.name} is too short to be a run of event ids")
    trailer = file.read(file.size - _TRAILER.size, _TRAILER.size)
    magic, count, blocks, words, entries, digest = _TRAILER.unpack(trailer)
    size = 8 * (2 * blocks + words + 2 * entries)
    at = count * ROW_BYTES
    if magic != _MAGIC or at + size + _TRAILER.size != file.size:
        raise StoreUnusable(f"{file.name} is not a run of event ids of this version")
    body = file.read(at, size)
    if xxh3_64_intdigest(body, count) != digest:
        raise StoreUnusable(f"the index of {file.name} is damaged")
    columns = np.split(np.frombuffer(body, np.uint64), np.cumsum([blocks, blocks, words]))
    first, digests, filter_words, pairs = columns
    return RunIndex(
        count, first, digests, IdFilter(filter_words), pairs.view(np.int64).reshape(-1, 2)
    )


class IdRun:
    def __init__(self, file: FileReader, index: RunIndex) -> None:
        self._file = file
        self._index = index
        self.name = file.name
        self.entries: dict[int, int] = dict(index.entries.tolist())
        self.latest_ms = max(self.entries.values(), default=0)

    def __len__(self) -> int:
        return self._index.count

    @property
    def bytes_used(self) -> int:
        index = self._index
        return index.first.nbytes + index.digests.nbytes + index.filter.words.nbytes

    def close(self) -> None:
        self._file.close()

    def find(self, needles: IdRows, bits: NDArray[np.uint64]) -> tuple[NDArray[np.intp], IdRows]:
        """Indexes of the ``needles`` (by hash; ``bits`` of the filter) that are here, and their
        rows.

        Raises `StoreUnusable` for a file that is unreadable or damaged.
        """
        asked = self._index.filter.held(needles, bits)
        hi = needles[asked, HI]
        # Equal upper halves may span blocks: begin at the last block with a smaller first one.
        low = np.maximum(np.searchsorted(self._index.first, hi, "left") - 1, 0)
        high = np.searchsorted(self._index.first, hi, "right")
        asking = asked[np.repeat(np.arange(len(asked)), high - low)]
        blocks = ragged(low, high - low)
        found = [
            self._look(
                needles,
                asking[start : start + _BLOCKS_AT_ONCE],
                blocks[start : start + _BLOCKS_AT_ONCE],
            )
            for start in range(0, len(blocks), _BLOCKS_AT_ONCE)
        ]
        if not found:
            return asked[:0], needles[:0]
        return np.concatenate([who for who, _ in found]), np.concatenate(
            [what for _, what in found]
        )

    def _look(
        self, needles: IdRows, asking: NDArray[np.intp], blocks: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], IdRows]:
        data = b"".join([self._block(number) for number in blocks.tolist()])
        rows = np.frombuffer(data, np.uint64).reshape(-1, ROWS_PER_BLOCK, ROW_BYTES // 8)
        same = rows[:, :, HI] == needles[asking, HI, None]
        same &= rows[:, :, LO] == needles[asking, LO, None]
        same &= blocks[:, None] * ROWS_PER_BLOCK + np.arange(ROWS_PER_BLOCK) < self._index.count
        where, row = np.nonzero(same)
        return asking[where], rows[where, row]

    def _block(self, number: int) -> bytes:
        """The block's bytes, the last one padded."""
        first = number * ROWS_PER_BLOCK
        count = min(ROWS_PER_BLOCK, self._index.count - first)
        data = self._file.read(first * ROW_BYTES, count * ROW_BYTES)
        if xxh3_64_intdigest(data) != int(self._index.digests[number]):
            raise StoreUnusable(f"block {number} of {self.name} is damaged")
        return data.ljust(BLOCK_BYTES, b"\0")
