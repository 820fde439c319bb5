"""Reading lines from any input: whole, numbered, with bounded memory."""

from __future__ import annotations

import codecs
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.errors import UsageError
from streams.core.records.text_encoding import foreign_encoding
from streams.operate.produce.lines import InputLine, line_blocks, read_aside

MAX = 12


class Pieces:
    """A reader that returns pieces of any size, as a pipe does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def lines_of(*pieces: bytes) -> list[InputLine]:
    return [line for block in line_blocks(Pieces(list(pieces)), MAX) for line in block]


@given(st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b" ", b"x" * 9, b"y" * 30])))
def test_lines_do_not_depend_on_how_the_pipe_cut_them(pieces):
    """Line numbers in errors must be those of an editor."""
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
    """Acknowledgements and heartbeats go on while stdin is silent."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as reader:
        blocks = read_aside(line_blocks(reader, MAX))
        os.write(write_end, b"one\n")
        assert await anext(blocks) == [InputLine(1, b"one")]
        os.write(write_end, b"two\n")
        os.close(write_end)
        assert [block async for block in blocks] == [[InputLine(2, b"two")]]


async def test_a_failing_read_raises():
    """A disk error must not look like the end of the file."""

    class Broken:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        [block async for block in read_aside(line_blocks(Broken(), MAX))]


@pytest.mark.parametrize("cut", range(6))
def test_one_byte_order_mark_is_ignored(cut):
    """Windows programs write it before the first line; a second one is data."""
    text = codecs.BOM_UTF8 + b"{}\n" + codecs.BOM_UTF8 + b"1"
    assert lines_of(text[:cut], text[cut:]) == [
        InputLine(1, b"{}"),
        InputLine(2, codecs.BOM_UTF8 + b"1"),
    ]


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_another_encoding_is_named_once(encoding):
    """The errors of its single lines would not name the encoding."""
    text = '{"a": 1}\r\n{"a": 2}\r\n'.encode(encoding)
    with pytest.raises(UsageError, match=encoding[:6].upper()):
        lines_of(text)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        (b'[{"a": 1},\n{"a": 2}]\n', "jq -c '.\\[\\]'"),
        (b'\n [{"a": 1}, {"a": 2}, {"a": 3}]', "jq -c '.\\[\\]'"),
        (b'{\n "a": 1\n}\n', "jq -c . FILE"),
        (b"{1}\r{2}\r{3}\r", r"tr '\\r' '\\n'"),
        (b'{"a": 1}\r{"a": 2}\r{"a": 3}\r' * 9, r"tr '\\r' '\\n'"),
    ],
    ids=["array", "array on one line", "object on many lines", "CR", "CR, above the limit"],
)
def test_a_file_without_one_object_per_line_is_refused_as_a_whole(text, way_out):
    """The errors of its single lines would mislead the user."""
    with pytest.raises(UsageError, match=way_out):
        lines_of(text)


def test_only_the_first_line_decides_the_form_of_a_file():
    """Valid lines have been sent by then, so a later line of another form is one invalid line."""
    found = lines_of(b'{"a": 1}\n[1]\n{\n')
    assert [line.content for line in found] == [b'{"a": 1}', b"[1]", b"{"]


@pytest.mark.parametrize("text", [b"", b"{", b"\0\0\0\0", "é\n".encode(), b"{}\n\0\0\0"])
def test_other_bytes_are_left_to_the_decoder(text):
    """A guessed encoding would hide the fault."""
    assert foreign_encoding(text) is None
