"""Encoding of a commit: unpacking returns what was packed, in parts that fit a record."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.errors import ChangelogGap, UnknownFormat
from streams.core.settings import Settings
from streams.core.topics.topic import CHANGELOG_PART_BYTES
from streams.engine.state.changelog import (
    FORMAT,
    READABLE,
    Counters,
    Link,
    entry_bytes,
    pack,
    unpack,
)
from streams.engine.state.table import MAX_ENTRY_BYTES

numbers = st.integers(0, 2**60)
counters = st.builds(
    Counters, numbers, numbers, numbers, numbers, numbers, st.dictionaries(st.text(), numbers)
)
links = st.builds(
    Link,
    **dict.fromkeys(
        (
            *("seq", "epoch", "from_offset", "next_offset", "base_offset", "last_append_ms"),
            *("watermark_ms", "start_offset", "written_bytes"),
        ),
        numbers,
    ),
    last_offset=st.integers(-1, 2**60),
    part=st.just(0),
    parts=st.just(1),
    counters=counters,
)
entries = st.lists(
    st.tuples(st.binary(max_size=40), st.none() | st.binary(max_size=4000)), max_size=40
)
PART_BYTES = (16 << 10) + 5000


@given(links, entries)
def test_a_commit_is_unpacked_as_it_was_packed(link, written):
    """Order is kept: of two entries of one key, the later one applies."""
    parts = [unpack(data) for data, _ in pack(link, written, PART_BYTES)]
    assert [entry for _, group in parts for entry in group] == written
    for number, (found, _) in enumerate(parts):
        assert found == msgspec.structs.replace(link, part=number, parts=len(parts))


@given(links, entries)
def test_parts_stay_below_the_record_limit(link, written):
    """A larger part would fail every commit of the partition."""
    for data, group in pack(link, written, PART_BYTES):
        if len(group) > 1:
            assert sum(entry_bytes(key, value) for key, value in group) <= PART_BYTES - (16 << 10)
        room = len(data) - sum(entry_bytes(key, value) for key, value in group)
        assert room <= 16 << 10


def test_the_largest_entry_fits_the_smallest_record(any_link):
    """Tables cut entries at MAX_ENTRY_BYTES so that one entry and its header fit one record."""
    parts = list(pack(any_link, [(b"k" * 9, b"v" * (MAX_ENTRY_BYTES - 15))]))
    assert [len(data) < CHANGELOG_PART_BYTES for data, _ in parts] == [True]
    assert Settings().changelog_part_bytes == CHANGELOG_PART_BYTES


def test_a_commit_without_entries_is_one_part(any_link):
    """Offsets advance without state, and the chain still needs the link."""
    assert [len(group) for _, group in pack(any_link, [])] == [0]


def test_a_newer_format_is_refused_by_name(any_link):
    """Decoding it as the known format would corrupt the state."""
    data = bytearray(next(pack(any_link, []))[0])
    data[2] = FORMAT + 1
    with pytest.raises(UnknownFormat, match=f"format {FORMAT + 1}.*or a newer one"):
        unpack(bytes(data))


def test_changed_fields_of_a_link_require_a_new_format(any_link):
    """A version that does not know a field would drop it from the chain without an error."""
    assert FORMAT == 8
    fields = Link.__struct_fields__
    assert (len(fields), fields[-3:]) == (21, ("last_day", "load", "maps_since"))


def test_the_format_before_lost_maps_is_read(any_link):
    """During a rolling restart, the new version continues a chain of the old one."""
    prefix = struct.Struct(">2sBI")
    header = msgspec.msgpack.encode(
        [getattr(any_link, name) for name in Link.__struct_fields__[:-1]]
    )
    link, entries = unpack(prefix.pack(b"DC", 7, len(header)) + header)
    assert (link.seq, link.load, link.maps_since, entries) == (
        any_link.seq,
        any_link.load,
        0,
        [],
    )


def test_the_error_for_an_older_format_does_not_ask_for_an_upgrade(any_link):
    """A newer version refused it."""
    data = bytearray(next(pack(any_link, []))[0])
    older = min(READABLE) - 1
    data[2] = older
    with pytest.raises(UnknownFormat, match=f"format {older}.* older version") as refused:
        unpack(bytes(data))
    assert "newer" not in str(refused.value)


@given(st.binary(max_size=30).filter(lambda raw: raw[:2] != b"DC"))
def test_foreign_bytes_are_a_gap_in_the_chain(raw):
    """Another program wrote into the changelog: continuing would lose what it overwrote."""
    with pytest.raises(ChangelogGap, match="another program may have written it"):
        unpack(raw)


@pytest.fixture
def any_link() -> Link:
    return Link(
        seq=1, epoch=0, part=0, parts=1, from_offset=0, next_offset=5, base_offset=0,
        last_offset=4, last_append_ms=1, watermark_ms=1, start_offset=0, written_bytes=0,
        counters=Counters(), secret=bytes(16),
    )  # fmt: skip
