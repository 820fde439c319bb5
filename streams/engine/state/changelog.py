"""Binary format of the changelog: a commit is a link of one or more parts.

    part    = "DC" format:u8 header_len:u32 header entries
    header  = msgpack of `Link`
    entries = (key_len:u16 value_len:u32 key value)*      value_len 0xFFFFFFFF: delete

One Kafka transaction holds all parts of a commit. A link's ``from_offset`` is its predecessor's
``next_offset``, and its ``seq`` the predecessor's + 1, which reveals a hole. A link with ``reset``
opens a higher epoch and follows any link: all older state is void (reset/reset.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

import msgspec

from streams.core.errors import ChangelogGap, UnknownFormat
from streams.core.topics.topic import CHANGELOG_PART_BYTES
from streams.engine.state.load_run import LoadRun
from streams.engine.state.log_time import LogTime
from streams.engine.state.placements import TakenMap
from streams.engine.state.table import Entry

FORMAT = 8
"""the format that this version writes"""
READABLE = frozenset({7, 8})
"""the formats that it reads. A version with a new format also reads the previous one, so that a
rolling restart can move forward. Links of format 7 have no ``maps_since``: a version that writes it
would take lost shard maps for known ones"""
_MAGIC = b"DC"
_PREFIX = struct.Struct(">2sBI")
_ENTRY = struct.Struct(">HI")
_DELETED = 0xFFFFFFFF
_HEADER_ROOM = 16 << 10


class Counters(msgspec.Struct, array_like=True, frozen=True):
    """Cumulative counts of one partition: ``read == applied + duplicates + dead + shed``.

    ``shed`` counts skipped offsets: as they are not read, transaction markers count as records.
    """

    read: int = 0
    applied: int = 0
    duplicates: int = 0
    dead: int = 0
    gaps: int = 0
    dead_by_code: dict[str, int] = {}
    shed: int = 0


class Link(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """The header of a commit.

    ``last_offset`` and ``last_append_ms`` identify the last consumed record (-1: none), which
    reveals a recreated topic. No entry below changelog offset ``base_offset`` is live.
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
    """entry bytes appended before this commit (in the store's copy: up to its end): the log's
    length"""
    counters: Counters
    secret: bytes
    """random key of this epoch's fingerprints (streams/engine/windows/fingerprint.py)"""
    reset: bool = False
    """an operator's reset began this epoch with empty tables"""
    log_time: LogTime = LogTime()
    shard_map: str = ""
    """text of `streams.core.rows.dated_map.MapIdentity`, the first shard map of this partition's
    rows; "" until a server confirmed it"""
    later_maps: tuple[TakenMap, ...] = ()
    """the later shard maps that this partition has taken, in their order"""
    last_day: int = -1
    """last UTC day, since 1970, of which an event was folded in this epoch; -1: none"""
    load: LoadRun = LoadRun()
    """the run in progress"""
    maps_since: int = 0
    """the first epoch whose taken maps ``later_maps`` holds for certain: when it was opened, the
    changelog of the epochs before was lost. 0 in a link of format 7"""

    @property
    def maps_lost(self) -> bool:
        """Whether the taken maps were lost with the changelog before this epoch, and no owner has folded a
        record since, by the maps that the servers record. A command may have added links."""
        return self.maps_since == self.epoch > 0 and self.next_offset == self.start_offset


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Link).decode


def entry_bytes(key: bytes, value: bytes | None) -> int:
    return _ENTRY.size + len(key) + len(value or b"")


def pack(
    link: Link, entries: Iterable[Entry], part_bytes: int = CHANGELOG_PART_BYTES
) -> Iterator[tuple[bytes, list[Entry]]]:
    """Cut a commit into parts below ``part_bytes``, at entry boundaries: bytes and entries of each.

    Sets ``link.part`` and ``link.parts``. A commit without entries is one part.
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
    known = ", ".join(map(str, sorted(readable)))
    wrote = "the older version that wrote it"
    if version > max(readable):
        wrote = "the version that wrote it, or a newer one"
    return UnknownFormat(
        f"{what} is in format {version}, this version of dia reads {known}. Run {wrote}."
    )


def unpack(data: bytes) -> tuple[Link, list[Entry]]:
    """The link and entries of one part.

    Raises `UnknownFormat` for another version's format, `ChangelogGap` for bytes that are no part.
    """
    if len(data) < _PREFIX.size or data[:2] != _MAGIC:
        raise ChangelogGap(
            "a changelog record has no header of dia: another program may have written it"
        )
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
