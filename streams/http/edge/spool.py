"""Batches on disk while the broker is unavailable: a queue of segment files, bounded by its caller.

Data survives kill -9 and power failure once `append` returns. Opening cuts off a torn end, at most
the frame of the last write. Damage before it stops the edge: those events were acknowledged."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from streams.core.command_errors import SpoolCorrupt
from streams.core.process.atomic_file import sync_path
from streams.core.process.file_modes import private_folder
from streams.http.edge import frame, request_batch
from streams.http.edge.edge_run import SPOOL_SUFFIX
from streams.http.edge.request_batch import RequestBatch

SEGMENT_BYTES = 16 << 20


class SpoolPosition(NamedTuple):
    """Everything before it in the oldest segment is shipped; ``blocks`` are those before it that
    are not."""

    offset: int
    blocks: Sequence[RequestBatch] = ()


@dataclass(slots=True)
class _Segment:
    path: Path
    size_bytes: int


class Spool:
    """Calls block on the disk and must not overlap; another thread may read the properties. Raises
    `OSError` when the disk fails."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Raises `SpoolCorrupt`. ``cut_bytes`` is the length of the torn end."""
        private_folder(folder)
        self._folder = folder
        self._seed = seed
        self._segments: deque[_Segment] = deque()
        self._stored_bytes = 0
        self._done = 0
        self.held: Counter[bytes] = Counter()
        """bytes of the unshipped records, by key"""
        self.cut_bytes = 0
        paths = sorted(folder.glob(f"*{SPOOL_SUFFIX}"))
        for path in paths:
            self._open(path, is_last=path is paths[-1])

    @property
    def size_bytes(self) -> int:
        """Unshipped bytes."""
        return self._stored_bytes - self._done

    @property
    def is_empty(self) -> bool:
        return not self._segments

    def append(self, blocks: Sequence[RequestBatch]) -> None:
        """Store all or none, and return when they are on disk."""
        data = frame.encode(request_batch.encode(blocks), self._seed)
        segment = self._tail()
        try:
            with segment.path.open("r+b", buffering=0) as file:
                # overwrite the remains of a failed write
                file.truncate(segment.size_bytes)
                file.seek(segment.size_bytes)
                _write_whole(file.fileno(), data)
                os.fsync(file.fileno())
        except OSError:
            self._discard_if_empty(segment)
            raise
        segment.size_bytes += len(data)
        self._stored_bytes += len(data)
        self._hold(blocks)

    def read(self, bytes_max: int) -> tuple[list[RequestBatch], SpoolPosition]:
        """The oldest batches, at least one frame if there is any, and the position after them."""
        blocks: list[RequestBatch] = []
        if not self._segments:
            return blocks, SpoolPosition(0)
        segment, offset = self._segments[0], self._done
        with segment.path.open("rb") as file:
            while offset < segment.size_bytes and (not blocks or offset - self._done < bytes_max):
                payload, end = self._frame(file.fileno(), segment, offset)
                blocks += request_batch.decode(payload)
                offset = end
        return blocks, SpoolPosition(offset, blocks)

    def forget(self, mark: SpoolPosition) -> None:
        """Drop everything before ``mark``; delete segments without more."""
        for done in mark.blocks:
            self.held.subtract(done.bytes_by_key())
        self.held += Counter()  # drops the keys without bytes
        self._done = mark.offset
        segment = self._segments[0]
        if self._done >= segment.size_bytes:
            segment.path.unlink()
            self._segments.popleft()
            self._stored_bytes -= segment.size_bytes
            self._done = 0

    def _hold(self, blocks: Sequence[RequestBatch]) -> None:
        for kept in blocks:
            self.held.update(kept.bytes_by_key())

    def _tail(self) -> _Segment:
        """The segment to append to. Names sort by age."""
        if self._segments and self._segments[-1].size_bytes < SEGMENT_BYTES:
            return self._segments[-1]
        newest = self._segments[-1].path.name.removesuffix(SPOOL_SUFFIX) if self._segments else "-1"
        path = self._folder / f"{int(newest) + 1:020d}{SPOOL_SUFFIX}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        sync_path(self._folder)
        self._segments.append(_Segment(path, 0))
        return self._segments[-1]

    def _discard_if_empty(self, segment: _Segment) -> None:
        if segment.size_bytes == 0:
            self._segments.remove(segment)

    def _frame(self, descriptor: int, segment: _Segment, offset: int) -> frame.Frame:
        header = os.pread(descriptor, frame.HEADER_BYTES, offset)
        data = header + os.pread(descriptor, frame.payload_bytes(header), offset + len(header))
        found = frame.at(data, 0, self._seed)
        if found is None:
            raise _corrupt(segment.path, offset)
        return frame.Frame(found.payload, offset + found.end)

    def _open(self, path: Path, *, is_last: bool) -> None:
        data = path.read_bytes()
        whole = 0
        for found in frame.walk(data, self._seed):
            whole = found.end
            self._hold(request_batch.decode(found.payload))
        if whole < len(data):
            if not is_last or frame.any_after(data, whole, self._seed):
                raise _corrupt(path, whole)
            self.cut_bytes = len(data) - whole
        if whole == 0:
            path.unlink()
            return
        os.truncate(path, whole)
        self._segments.append(_Segment(path, whole))
        self._stored_bytes += whole


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _corrupt(path: Path, offset: int) -> SpoolCorrupt:
    return SpoolCorrupt(
        f"{path} is damaged at byte {offset}, and what it holds was acknowledged to its senders. "
        "Restore the file, or move it away to go on without its events."
    )
