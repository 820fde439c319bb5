"""Reserved bytes of an agent's table (docs/protocols/bounds.md, R1 to R3): no verdict follows from them.

The reference counts the bytes of each event at once, by the text of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.entry_bytes import entry_bytes
from streams.engine.state.key_owners import SHARED, Several
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import Packed, form_of, key_bytes
from tests.depth import cases

BOUND = 40_000


@dataclass
class _Writer:
    author: object = ""
    in_event: ClassVar[bool] = True

    def stage(self, table):
        pass

    def check_owned(self, table, key):
        pass


class _Table:
    """A table of the engine. Nothing but `commit` asks for its bytes: to ask gives back what is reserved."""

    def __init__(self):
        self.writer = _Writer()
        self.table = KeyedTable("table", form_of("table", None), max_bytes=BOUND)
        self.table.writer = self.writer

    def event(self, author, writes):
        self.writer.author = author
        for key, value in writes.items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        try:
            self.table.seal()
        except TenantOverQuota:
            self.table.drop()
            return False
        self.table.join()
        return True

    def commit(self):
        self.table.delta(1)

    @property
    def values(self):
        return {key: self.table.kept(key) for key in self.table.kept_keys()}


class _Reference:
    """The rule of the page, over the values themselves."""

    def __init__(self):
        self.values = {}
        self.owners = {}

    def event(self, author, writes):
        added, owners = {}, {}
        for key, value in writes.items():
            before, after = _size(key, self.values.get(key)), _size(key, value)
            if before != after:
                former = self.owners.get(key, "")
                owners[key] = self._owner(author, former, grows=after > before)
                added[owners[key]] = added.get(owners[key], 0) + after
                added[former] = added.get(former, 0) - before
        if not self._fits(author, added):
            return False
        values = {**self.values, **writes}
        self.values = {key: value for key, value in values.items() if value is not None}
        self.owners = {
            key: owner for key, owner in {**self.owners, **owners}.items() if key in self.values
        }
        return True

    @staticmethod
    def _owner(author, former, *, grows):
        if not grows or author in ("", Several.LIST, former):
            return former
        return author if former == "" else SHARED

    def _fits(self, author, added):
        total = self.held(...)
        if author is Several.LIST:
            return sum(added.values()) <= max(0, BOUND // 2 - total)
        total += sum(count for count in added.values() if count < 0)
        for owner, count in added.items():
            if author == "" or owner == "" or count <= 0:
                continue
            if count > self.room(owner, total):
                return False
            total += count
        return True

    def room(self, owner, total):
        return max(0, (BOUND - total - self.held(owner) + 1) // 2)

    def held(self, owner):
        """Bytes of an owner's keys; ``...``: of all."""
        return sum(
            _size(key, value)
            for key, value in self.values.items()
            if owner is ... or self.owners.get(key, "") == owner
        )


def _size(key, value):
    if value is None:
        return 0
    held = Packed(msgspec.msgpack.encode(value)) if isinstance(value, list) else value
    return entry_bytes(key_bytes(key), held)


def _after(reference, author, key, change):
    values = reference.values
    match change:
        case "fill", left:
            room = reference.room(reference.owners.get(key, author), reference.held(...))
            return _after(reference, author, key, ("longer", max(0, room - left)))
        case "longer", count:
            found = values.get(key)
            return (found if isinstance(found, str) else "") + "x" * count
        case "append", count:
            found = values.get(key)
            return [*(found if isinstance(found, list) else []), *[1] * count]
        case "wide", count:
            return "é" * count
        case "number", _:
            return 1
        case "delete", _:
            return None


CHANGES = st.one_of(
    st.tuples(st.just("longer"), st.integers(0, 200)),
    st.tuples(st.just("longer"), st.sampled_from([1, 50, 2000, 6000])),
    st.tuples(st.just("fill"), st.integers(0, 1200)),
    st.tuples(st.just("append"), st.integers(0, 300)),
    st.tuples(st.sampled_from(["wide", "number", "delete"]), st.integers(0, 600)),
)
EVENTS = st.tuples(
    st.sampled_from(["a", "a", "b", "", SHARED, Several.LIST]),
    st.dictionaries(st.sampled_from("klmn"), CHANGES, min_size=1, max_size=2),
    st.integers(1, 4),
)


def _longer(author, key, count, repeats=1):
    return author, {key: ("longer", count)}, repeats


RESERVE = _longer("a", "k", 50, 3)
ONE_MORE = _longer("a", "k", 50)
HALF_OF_IT = [_longer("b", "l", 7000), _longer("c", "m", 7000), _longer("", "n", 7000)]


@settings(max_examples=cases(300), deadline=None)
@given(steps=st.lists(EVENTS | st.just("commit"), max_size=40))
@example(steps=[RESERVE, _longer("a", "m", 18_000), _longer("b", "l", 9000), ONE_MORE])
@example(steps=[RESERVE, _longer("a", "m", 1), ("a", {"m": ("fill", 0)}, 1)])
@example(steps=[RESERVE, _longer("b", "k", 10, 2), ONE_MORE])
@example(steps=[RESERVE, ("a", {"k": ("delete", 0)}, 1), "commit"])
@example(steps=[RESERVE, _longer("b", "k", 9, 3), *HALF_OF_IT, _longer(Several.LIST, "k", 9)])
def test_each_event_has_the_verdict_of_bytes_that_are_counted_at_once(steps):
    """Commits may be anywhere. If a tenant were refused for what is reserved, or had more for it, its share would
    follow from how the log is cut into commits."""
    table, reference = _Table(), _Reference()
    for step in steps:
        if step == "commit":
            table.commit()
            continue
        author, changes, repeats = step
        for _ in range(repeats):
            writes = {
                key: _after(reference, author, key, change) for key, change in changes.items()
            }
            assert table.event(author, writes) == reference.event(author, writes)
            assert table.values == reference.values
            assert table.table._weighing.owners.total >= reference.held(...), (
                "bytes were not counted"
            )
    assert table.table.bytes_used == reference.held(...)
    owners = table.table._weighing.owners
    for owner in ("a", "b", "c", SHARED):
        assert owners.held(owner) == reference.held(owner)


@settings(max_examples=cases(60), deadline=None)
@given(steps=st.lists(EVENTS, max_size=20))
def test_what_counts_is_never_more_than_the_bound_while_each_event_names_a_tenant(steps):
    """What is reserved counts as held until it is given back, so what values hold is below the bound between two
    commits, too."""
    table, reference = _Table(), _Reference()
    for _, changes, repeats in steps:
        for _ in range(repeats):
            writes = {key: _after(reference, "a", key, change) for key, change in changes.items()}
            if table.event("a", writes):
                reference.event("a", writes)
            assert table.table._weighing.owners.total <= BOUND
            assert table.table._weighing.owners.held("a") <= BOUND // 2 + 1


def test_a_key_is_weighed_twice_between_two_commits():
    """To weigh each event took half as long again as the event itself."""
    table, weighed = _Table(), []
    owners = table.table._weighing.owners
    owners.room = lambda owner, room=owners.room: weighed.append(owner) or room(owner)
    table.event("a", {"k": ""})
    for commit in range(2):
        table.commit()
        weighed.clear()
        for length in range(1, 100):
            assert table.event("a", {"k": "x" * (100 * commit + length)})
        assert weighed == ["a", "a"]
