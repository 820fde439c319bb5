"""The bytes of the changelog: one commit is a chain link of one or more parts.

    part    = "DC" format:u8 header_len:u32 header entries
    header  = msgpack of `Link`
    entries = (key_len:u16 value_len:u32 key value)*      value_len 0xFFFFFFFF: delete

All parts of a commit are in one Kafka transaction, so a reader sees all or none. Part 0 of a
link repeats what its predecessor said of the end (``from_offset`` is the predecessor's
``next_offset``, ``seq`` is its ``seq`` + 1): a hole in the chain cannot go unnoticed.

A link with ``reset`` opens a higher epoch and follows whatever lies before it: all state older
than itself is void (reset/reset.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import msgspec

from streams.core.errors import ChangelogGap, UnknownFormat
from streams.core.topics.topic import CHANGELOG_PART_BYTES
from streams.engine.state.log_time import LogTime
from streams.engine.state.table import Entry

FORMAT = 5
"""What this version writes."""
READABLE = frozenset({5})
"""What it reads. A version that changes the format reads the one before it, so that a rolling
restart can move every partition forward; back, only the newer version can read what it wrote."""
_MAGIC = b"DC"
_PREFIX = struct.Struct(">2sBI")
_ENTRY = struct.Struct(">HI")
_DELETED = 0xFFFFFFFF
_HEADER_ROOM = 16 << 10


class Counters(msgspec.Struct, array_like=True, frozen=True):
    """Cumulative counts of one partition: ``read == applied + duplicates + dead + shed``.

    ``shed`` counts offsets that an operator had skipped: what is not read is not told apart from
    markers of transactions, so all of them count as records.
    """

    read: int = 0
    applied: int = 0
    duplicates: int = 0
    dead: int = 0
    gaps: int = 0
    dead_by_code: dict[str, int] = {}
    shed: int = 0


class Link(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a commit says of itself; see DESIGN's commit protocol.

    ``last_offset`` and ``last_append_ms`` identify the last consumed record (-1: none yet), so
    that a recreated topic is noticed. ``base_offset`` is the changelog offset below which
    nothing is live.
    """

    seq: int
    epoch: int
    part: int
    parts: int
    from_offset: int
    next_offset: int
    base_offset: int
    last_offset: int
    last_append_ms: int
    watermark_ms: int
    start_offset: int
    """source offset at which this epoch began: ``next_offset - start == read + gaps``"""
    written_bytes: int
    """entry bytes appended before this commit (in the store's copy: up to its end), so that the
    length of the log is known without reading it"""
    counters: Counters
    secret: bytes
    """random bytes that key this epoch's fingerprints (streams/engine/windows/fingerprint.py); made when it opens"""
    reset: bool = False
    """an operator began this epoch here, with empty tables"""
    log_time: LogTime = LogTime()
    """after the last consumed record"""
    shard_map: str = ""
    """`streams.core.rows.built_in_tables.MapIdentity` of the map that places this partition's rows, as text; "" until a
    server confirmed it"""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Link).decode


def entry_bytes(key: bytes, value: bytes | None) -> int:
    """Size of one entry in the changelog."""
    return _ENTRY.size + len(key) + len(value or b"")


def pack(
    link: Link, entries: Iterable[Entry], part_bytes: int = CHANGELOG_PART_BYTES
) -> Iterator[tuple[bytes, list[Entry]]]:
    """Cut a commit into parts below ``part_bytes``, entries never: the bytes of each, and its
    entries.

    ``link.part`` and ``link.parts`` are filled in. A commit without entries is one part.
    """
    groups: list[list[Entry]] = [[]]
    used = 0
    for key, value in entries:
        size = entry_bytes(key, value)
        if used + size > part_bytes - _HEADER_ROOM and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append((key, value))
        used += size
    for part, group in enumerate(groups):
        header = _encode(msgspec.structs.replace(link, part=part, parts=len(groups)))
        pieces = [_PREFIX.pack(_MAGIC, FORMAT, len(header)), header]
        for key, value in group:
            length = _DELETED if value is None else len(value)
            pieces += (_ENTRY.pack(len(key), length), key, value or b"")
        yield b"".join(pieces), group


def unknown_format(what: str, version: int, readable: AbstractSet[int] = READABLE) -> UnknownFormat:
    """``what`` bears a format of another version of dia."""
    known = ", ".join(map(str, sorted(readable)))
    wrote = "the older version that wrote it"
    if version > max(readable):
        wrote = "the version that wrote it, or a newer one"
    return UnknownFormat(
        f"{what} is in format {version}, this version of dia reads {known}. Run {wrote}."
    )


def unpack(data: bytes) -> tuple[Link, list[Entry]]:
    """The link and entries of one part.

    Raises `UnknownFormat` for the format of another version and `ChangelogGap` for bytes that are no part.
    """
    if len(data) < _PREFIX.size or data[:2] != _MAGIC:
        raise ChangelogGap("a changelog record does not begin like one: was it written by dia?")
    _, version, header_length = _PREFIX.unpack_from(data)
    if version not in READABLE:
        raise unknown_format("the state", version)
    at = _PREFIX.size + header_length
    link = _decode(data[_PREFIX.size : at])
    entries: list[Entry] = []
    while at < len(data):
        key_length, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        key = data[at : at + key_length]
        at += key_length
        if length == _DELETED:
            entries.append((key, None))
        else:
            entries.append((key, data[at : at + length]))
            at += length
    return link, entries
