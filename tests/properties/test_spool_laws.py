"""The spool against a list of blocks, with a crash at any byte of anything it writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.command_errors import SpoolCorrupt
from streams.http.edge import frame, spool
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.spool import Spool

SEED = 0x5EED
SEGMENT_BYTES = spool.SEGMENT_BYTES
"""As an edge has it."""
SMALL = st.binary(max_size=40)

bodies = st.lists(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=4), min_size=1, max_size=4)
"""The blocks of one append, each a list of (key, value)."""

moves = st.lists(
    st.one_of(
        st.tuples(st.just("append"), bodies),
        st.tuples(st.just("drain"), st.integers(1, 400)),
        st.tuples(st.just("crash"), st.none()),
    ),
    max_size=25,
)


def numbered(start: int, bodies: list) -> list[RequestBatch]:
    return [
        RequestBatch("edge", start + i, [key for key, _ in body], [value for _, value in body])
        for i, body in enumerate(bodies)
    ]


def drained(opened: Spool) -> list[RequestBatch]:
    """All its content, by the calls that a drain makes."""
    found: list[RequestBatch] = []
    while not opened.is_empty:
        blocks, mark = opened.read(1000)
        found += blocks
        opened.forget(mark)
    return found


def _bytes_by_key(blocks: list[RequestBatch]) -> Counter[bytes]:
    """Payload bytes by key over all records; keys of empty records count nothing."""
    found: Counter[bytes] = Counter()
    for block in blocks:
        for key, value in zip(block.keys, block.values, strict=True):
            found[key] += len(key) + len(value)
    return +found


@pytest.fixture(autouse=True)
def _many_segments(monkeypatch):
    """Segments of a few frames, so that every case has several."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 300)


@given(moves)
def test_it_is_a_queue_that_survives_its_process(moves):
    """Appended blocks come out once, in order; only those that were read but not yet forgotten when
    the process died may come twice."""
    with TemporaryDirectory() as folder:
        opened = Spool(Path(folder), SEED)
        model: list[RequestBatch] = []
        for move, argument in moves:
            if move == "append":
                number = model[-1].number + 1 if model else 0
                blocks = numbered(number, argument)
                opened.append(blocks)
                model += blocks
            elif move == "drain":
                blocks, mark = opened.read(argument)
                assert blocks == model[: len(blocks)]
                assert bool(blocks) == bool(model)
                if blocks:
                    opened.forget(mark)
                    model = model[len(blocks) :]
            else:
                opened = Spool(Path(folder), SEED)
                again, _ = opened.read(1 << 30)
                first = model[0].number if model else None
                repeated = [b for b in again if first is None or b.number < first]
                # Forgotten blocks of the oldest segment: still on disk, and older.
                assert repeated == again[: len(repeated)]
                model = repeated + model
        assert +opened.held == _bytes_by_key(model)
        held = sum(path.stat().st_size for path in Path(folder).iterdir())
        assert 0 <= opened.size_bytes <= held
        assert drained(opened) == model
        assert opened.size_bytes == 0
        assert list(Path(folder).iterdir()) == []


@given(bodies, bodies, st.data())
def test_a_write_cut_at_any_byte_loses_only_itself(before, torn, data):
    """kill -9 in the middle of a write: acknowledged blocks stay, and new blocks follow them."""
    with TemporaryDirectory() as folder:
        kept, lost = numbered(0, before), numbered(100, torn)
        Spool(Path(folder), SEED).append(kept)
        (path,) = Path(folder).iterdir()
        whole = path.read_bytes()
        opened = Spool(Path(folder), SEED)
        opened.append(lost)
        last = max(Path(folder).iterdir())
        written = last.read_bytes()
        start = len(whole) if last == path else 0
        cut = data.draw(st.integers(start, len(written) - 1))
        last.write_bytes(written[:cut])
        reopened = Spool(Path(folder), SEED)
        assert reopened.cut_bytes == cut - start
        reopened.append(numbered(200, before))
        assert drained(reopened) == kept + numbered(200, before)


@given(bodies, bodies, st.data())
def test_damage_to_an_acknowledged_frame_is_never_silent(first, second, data):
    """A flipped byte before the last frame stops the edge, or the frame is read unchanged. A frame
    is never skipped or altered, because a client got a 202 for it."""
    with TemporaryDirectory() as folder:
        opened = Spool(Path(folder), SEED)
        opened.append(numbered(0, first))
        size = opened.size_bytes
        opened.append(numbered(10, second))
        path = min(Path(folder).iterdir())
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, size - 1))
        content[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(SpoolCorrupt, match="acknowledged"):
            Spool(Path(folder), SEED)


@given(st.binary(max_size=300))
def test_an_event_cannot_imitate_a_frame(payload):
    """Clients do not know the seed, so no value contains a valid checksum."""
    forged = frame.encode(payload, SEED + 1)
    torn = frame.encode(b"x" * 10 + forged, SEED)[:-1]
    assert not frame.any_after(torn, 0, SEED)


@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(max_size=3))
def test_frames_are_found_from_their_start_and_after_damage(payloads, damage):
    """Also a frame without a payload, and one that begins with the byte after the damage."""
    data = b"".join(frame.encode(payload, SEED) for payload in payloads)
    assert [found.payload for found in frame.walk(data, SEED)] == payloads
    assert frame.any_after(b"x" + damage + data, 0, SEED) == bool(payloads)


def test_a_failing_disk_leaves_the_spool_unchanged(tmp_path, monkeypatch):
    """The disk is full in the middle of a frame: the next write overwrites the partial frame."""
    opened = Spool(tmp_path, SEED)
    first, second, third = (numbered(n, [[(b"k", b"v%d" % n)]]) for n in range(3))
    opened.append(first)

    def half(descriptor: int, data: bytes) -> None:
        spool.os.write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "_write_whole", half)
        with pytest.raises(OSError, match="No space"):
            opened.append(second)
    opened.append(third)
    assert drained(opened) == first + third


def test_a_refused_first_write_leaves_no_segment(tmp_path, monkeypatch):
    """An empty spool must report that it is empty: otherwise the edge never sends directly again."""
    opened = Spool(tmp_path, SEED)

    def refuse(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "_write_whole", refuse)
        with pytest.raises(OSError, match="No space"):
            opened.append(numbered(0, [[(b"k", b"v")]]))
    assert opened.is_empty
    opened.append(numbered(0, [[(b"k", b"v")]]))
    assert drained(opened) == numbered(0, [[(b"k", b"v")]])


def test_a_read_ends_with_the_frame_that_reaches_its_limit(tmp_path):
    """Read frames stay in memory until they are shipped; the limit counts from the first unshipped
    byte, wherever it is in its segment."""
    opened = Spool(tmp_path, SEED)
    blocks = [numbered(n, [[(b"k", b"v")]]) for n in range(4)]
    opened.append(blocks[0])
    frame_bytes = opened.size_bytes
    for block in blocks[1:]:
        opened.append(block)
    one, mark = opened.read(frame_bytes)
    assert one == blocks[0]
    opened.forget(mark)
    two, _ = opened.read(2 * frame_bytes)
    assert two == blocks[1] + blocks[2]


def test_damage_under_a_running_edge_is_not_shipped(tmp_path):
    """A disk may fail after the folder was opened: every read is checked again."""
    opened = Spool(tmp_path, SEED)
    opened.append(numbered(0, [[(b"k", b"value")]]))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SpoolCorrupt, match="is damaged at byte 0"):
        opened.read(1000)


@pytest.mark.parametrize("left", [0, 1, 5], ids="{} bytes".format)
def test_a_first_write_cut_by_a_crash_leaves_an_empty_spool(tmp_path, left):
    """The crash comes after the file was created or within its first frame, which was not
    acknowledged."""
    opened = Spool(tmp_path, SEED)
    opened.append(numbered(0, [[(b"k", b"v")]]))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:left])
    reopened = Spool(tmp_path, SEED)
    assert (reopened.is_empty, reopened.size_bytes) == (True, 0)
    assert list(tmp_path.iterdir()) == []
    reopened.append(numbered(1, [[(b"k", b"v")]]))
    assert drained(reopened) == numbered(1, [[(b"k", b"v")]])


def test_small_writes_share_a_file(tmp_path, monkeypatch):
    """A file per request would cost a directory entry and two syncs each."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", SEGMENT_BYTES)
    opened = Spool(tmp_path, SEED)
    for number in range(3):
        opened.append(numbered(number, [[(b"k", b"v")]]))
    assert len(list(tmp_path.iterdir())) == 1
