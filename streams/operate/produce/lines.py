"""Lines of a file or pipe in blocks, without delay and in bounded memory.

Each line must be one JSON object. Another format is refused before its first line: the errors of
its lines would not name the cause."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from streams.core.errors import UsageError
from streams.core.records.text_encoding import HEAD_BYTES, foreign_encoding, without_mark

CHUNK_BYTES = 1 << 18


class InputLine(NamedTuple):
    """``number`` counts from 1; ``content`` has no line end, and is cut above the limit."""

    number: int
    content: bytes


class RawReader(Protocol):
    """An unbuffered binary file: ``read`` returns available bytes, b"" at the end."""

    def read(self, size: int, /) -> bytes | None: ...


def line_blocks(reader: RawReader, line_bytes_max: int) -> Iterator[list[InputLine]]:
    """The lines of each chunk, without blank lines and byte-order marks.

    A line above ``line_bytes_max`` is cut to one byte more, enough to refuse it. Raises
    `UsageError` for UTF-16, UTF-32, ends with CR alone, an array, and a multi-line object."""
    first = True
    for block in _blocks(reader, line_bytes_max):
        if first:
            _check_form(block[0].content.strip())
            first = False
        yield block


def _check_form(first_line: bytes) -> None:
    if first_line.startswith(b"["):
        raise UsageError(
            "the input is a JSON array, and not one object a line: no line of it was read. Convert "
            "it first: jq -c '.[]' FILE."
        )
    if first_line == b"{":
        raise UsageError(
            "the input has objects that take several lines, and not one a line: no line of it was "
            "read. Convert it first: jq -c . FILE."
        )
    if b"\r" in first_line:
        raise UsageError(
            "lines of the input end with CR alone, and not with LF: no line of it was read. Convert "
            "it first: tr '\\r' '\\n' < FILE."
        )


def _blocks(reader: RawReader, line_bytes_max: int) -> Iterator[list[InputLine]]:
    number, rest, skipping = 0, b"", False
    for chunk in _chunks(reader):
        *whole, rest = (rest + chunk).split(b"\n")
        block = []
        for content in whole:
            number += 0 if skipping else 1
            if not skipping and (line := _line(number, content, line_bytes_max)) is not None:
                block.append(line)
            skipping = False
        if skipping:
            rest = b""
        elif len(rest) > line_bytes_max:
            number += 1
            block.append(InputLine(number, rest[: line_bytes_max + 1]))
            rest, skipping = b"", True
        if block:
            yield block
    if not skipping and (line := _line(number + 1, rest, line_bytes_max)) is not None:
        yield [line]


def _chunks(reader: RawReader) -> Iterator[bytes]:
    head = b""
    while len(head) < HEAD_BYTES and (chunk := reader.read(CHUNK_BYTES)):
        head += chunk
    if (encoding := foreign_encoding(head)) is not None:
        raise UsageError(
            f"the input is {encoding}, not UTF-8: no line of it was read. Convert it first: "
            f"iconv -f {encoding} -t UTF-8 (in PowerShell: Set-Content -Encoding utf8)."
        )
    if head := without_mark(head):
        yield head
    while chunk := reader.read(CHUNK_BYTES):
        yield chunk


def _line(number: int, content: bytes, line_bytes_max: int) -> InputLine | None:
    # The length includes spaces: the result must not depend on chunk borders.
    if len(content) > line_bytes_max:
        return InputLine(number, content[: line_bytes_max + 1])
    content = content.strip()
    return InputLine(number, content) if content else None


async def read_aside(blocks: Iterator[list[InputLine]]) -> AsyncIterator[list[InputLine]]:
    """Read one block ahead in a thread: a silent pipe must not block the event loop. The thread is
    a daemon: Ctrl-C does not wait for the pipe."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[InputLine] | Exception | None] = asyncio.Queue()
    wanted = threading.Semaphore(2)
    stopped = threading.Event()

    def hand_over(item: list[InputLine] | Exception | None) -> None:
        # the event loop may have ended
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.put_nowait, item)

    def read() -> None:
        last: Exception | None = None
        try:
            for block in blocks:
                wanted.acquire()
                if stopped.is_set():
                    return
                hand_over(block)
        except Exception as error:  # noqa: BLE001 - raised again on the other side
            last = error
        hand_over(last)

    threading.Thread(target=read, name="line-reader", daemon=True).start()
    try:
        while (item := await arrived.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
            wanted.release()
    finally:
        stopped.set()
        wanted.release()
