"""Reading lines from anything: whole, numbered, and bounded in memory."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.workload.lines import Line, line_blocks, read_aside

MAX = 12


class Pieces:
    """A reader that returns what a pipe might: pieces of any size."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def lines_of(*pieces: bytes) -> list[Line]:
    return [line for block in line_blocks(Pieces(list(pieces)), MAX) for line in block]


@given(st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b" ", b"x" * 9, b"y" * 30])))
def test_lines_do_not_depend_on_how_the_pipe_cut_them(pieces):
    """Numbers in error messages must be those an editor shows."""
    whole = b"".join(pieces).split(b"\n")
    expected = [
        (number, content[: MAX + 1] if len(content) > MAX else content.strip())
        for number, content in enumerate(whole, 1)
        if content.strip() or len(content) > MAX
    ]
    assert [(line.number, line.content) for line in lines_of(*pieces)] == expected


def test_an_endless_line_is_cut_and_the_next_one_is_read():
    """A file without line ends must not fill the memory."""
    endless = [b"z" * 10_000] * 50
    found = lines_of(*endless, b"\nnext\n")
    assert [(line.number, len(line.content)) for line in found] == [(1, MAX + 1), (2, 4)]


async def test_a_silent_pipe_does_not_stop_the_loop():
    """Acknowledgements and heartbeats go on while nobody types."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as reader:
        blocks = read_aside(line_blocks(reader, MAX))
        os.write(write_end, b"one\n")
        assert await anext(blocks) == [Line(1, b"one")]
        os.write(write_end, b"two\n")
        os.close(write_end)
        assert [block async for block in blocks] == [[Line(2, b"two")]]


async def test_a_failing_read_is_told():
    """A disk error must not look like the end of the file."""

    class Broken:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        [block async for block in read_aside(line_blocks(Broken(), MAX))]
