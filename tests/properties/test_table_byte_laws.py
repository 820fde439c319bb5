"""Bytes of an agent's table (docs/protocols/bounds.md): growing values of one tenant are refused,
stop no partition, and change nothing of another tenant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import faust
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.errors import StateLimit
from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.entry_bytes import entry_bytes
from streams.engine.state.key_owners import SHARED, Author, Several
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import form_of, key_bytes

BOUND = 20_000
VICTIMS_MOST = BOUND // 4 - 2000
"""A tenant below a quarter of a table always finds room beside another one."""
HOSTILE, VICTIM = "hostile", "victim"
LENGTHS = st.integers(0, 3000)
WRITES = st.one_of(
    st.tuples(st.just("append"), st.sampled_from("abcd"), LENGTHS),
    st.tuples(st.just("text"), st.sampled_from("abcd"), LENGTHS),
    st.tuples(st.just("wide text"), st.sampled_from("abcd"), LENGTHS),
    st.tuples(st.just("number"), st.text("xyz", max_size=40)),
    st.tuples(st.just("delete"), st.sampled_from("abcd")),
    st.tuples(st.just("read"), st.sampled_from("abcd")),
    st.tuples(st.just("fail"), st.sampled_from("abcd")),
)
EVENTS = st.lists(st.tuples(st.just("event"), st.lists(WRITES, max_size=4)), max_size=40)
INTEGERS = st.lists(st.integers(0, 9), max_size=3)
SCALARS = st.none() | st.booleans() | st.integers(0, 9) | st.text() | st.binary()
ACTS = st.sampled_from(["commit", "rewrite"])


@dataclass
class _Writer:
    """A scope with an event always in progress, and all keys in the partition."""

    author: Author
    in_event = True

    def stage(self, table):
        pass

    def check_owned(self, table, key):
        pass


class _FailsError(Exception):
    """The agent's code raised."""


class _Part:
    """A table of one partition with its changelog."""

    def __init__(self, store=None) -> None:
        self.store = store if store is not None else {}
        self.table = KeyedTable("table", form_of("table", None), default=list, max_bytes=BOUND)
        self.table.load(sorted(self.store.items()))

    def event(self, tenant, writes, prefix=None):
        """Whether the event was accepted; its keys start with ``prefix``, by default the tenant."""
        self.table.writer = _Writer(tenant)
        try:
            for write in writes:
                _write(self.table, tenant if prefix is None else prefix, write)
            self.table.seal()
        except (TenantOverQuota, _FailsError) as error:
            self.table.drop()
            return isinstance(error, _FailsError)
        self.table.join()
        return True

    def act(self, name):
        if name == "rewrite":
            for key, value in [*self.store.items()]:
                self.table.rewrite(key, value)
        for key, value in self.table.delta(1):
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value

    def restarted(self):
        self.act("commit")
        return _Part(self.store)

    @property
    def rows(self):
        return {key: self.table.kept(key) for key in self.table.kept_keys()}


def _write(table, prefix, write):
    match write:
        case "append", key, length:
            found = table[prefix, key]
            if isinstance(found, list):
                found.append("x" * length)
        case "text", key, length:
            table[prefix, key] = "x" * length
        case "wide text", key, length:
            table[prefix, key] = "é" * (length // 4)
        case "number", key:
            table[prefix, key] = 1
        case "delete", key:
            table.pop((prefix, key), None)
        case "read", key:
            _ = table[prefix, key]
        case "fail", key:
            table[prefix, key] = "x"
            raise _FailsError


class _Note(faust.Record):
    text: str


FORMS = {
    "any": (None, SCALARS | st.lists(SCALARS, max_size=3)),
    "text": (str | None, st.none() | st.text()),
    "number": (float | None, st.none() | st.floats(allow_nan=False)),
    "several": (int | str | list[int], st.integers(0, 9) | st.text() | INTEGERS),
    "set": (set, st.frozensets(st.text(max_size=3), max_size=3)),
    "record": (_Note, st.builds(_Note, text=st.text())),
}


def _check(part):
    """The byte counts equal the entries' bytes, and each owner is within its share."""
    table, owners = part.table, part.table._weighing.owners
    sizes = {key: entry_bytes(key_bytes(key), held) for key, held in table._kept.items()}
    assert table.bytes_used == sum(sizes.values()) < BOUND
    held = Counter()
    for key, size in sizes.items():
        held[owners.owner(key)] += size
    unowned = held.pop("", 0)
    assert owners._shared == held.pop(SHARED, 0)
    assert owners._held == held
    assert set(owners._owner) <= set(sizes)
    assert max(held.values(), default=0) <= BOUND // 2
    return unowned


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.lists(WRITES, max_size=4)) | ACTS,
        max_size=60,
    ),
    common=st.booleans(),
)
def test_no_order_of_growing_values_reaches_the_bound(steps, common):
    """So a table whose events name tenants never stops its partition, also if tenants share keys."""
    part = _Part()
    for step in steps:
        if isinstance(step, str):
            part.act(step)
            continue
        tenant, writes = step
        before = dict(part.table._kept)
        joined = part.event(tenant, writes, "all" if common else None)
        assert joined or part.table._kept == before, "a refused event changed the table"
        assert _check(part) == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data(), hostile=EVENTS, victim=EVENTS)
def test_a_hostile_tenants_growth_changes_nothing_of_another(data, hostile, victim):
    """While the other stays within a quarter of the table; for commits at any moment."""
    alone = _Part()
    kept = []
    for _, writes in victim:
        again = _Part(dict(alone.restarted().store))
        again.event(VICTIM, writes)
        if again.table.bytes_used < VICTIMS_MOST:
            kept.append(writes)
            alone.event(VICTIM, writes)
    steps = [(HOSTILE, writes) for _, writes in hostile] + [(VICTIM, writes) for writes in kept]
    order = data.draw(st.permutations(range(len(steps))))
    mine = iter(kept)
    both = _Part()
    for at in order:
        tenant, writes = steps[at]
        if tenant == VICTIM:
            assert both.event(VICTIM, next(mine)), "the victim's event was refused"
        else:
            both.event(HOSTILE, writes)
        if at % 3 == 0:
            both.act("commit")
        assert both.table.bytes_used < BOUND
    theirs = {key: value for key, value in both.rows.items() if key[0] == VICTIM}
    assert theirs == alone.rows


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "", "é" * 512, SHARED]),
            st.lists(WRITES, max_size=4),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_a_restart_changes_no_bytes_no_owner_and_no_verdict(steps):
    """Else a partition that works could stop at its next start, and each restart would give a tenant the
    room of the keys that it has."""
    part, restarted = _Part(), _Part()
    for author, writes, restart in steps:
        if restart:
            restarted = restarted.restarted()
        assert part.event(author, writes, "all") == restarted.event(author, writes, "all")
    after = restarted.restarted()
    _check(after)
    _check(part)
    for name in ("total", "_owner", "_held", "_shared"):
        assert getattr(after.table._weighing.owners, name) == getattr(
            part.table._weighing.owners, name
        )


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", SHARED, Several.LIST, "restart"]),
            st.lists(WRITES, max_size=4),
        ),
        max_size=60,
    )
)
def test_keys_without_an_owner_count_against_no_tenant(steps):
    """Keys of batches of several tenants. What several tenants own has one share."""
    part = _Part()
    for tenant, writes in steps:
        if tenant == "restart":
            part = part.restarted()
        else:
            part.event(tenant, writes, "all")
        _check(part)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from("abc"), st.integers(0, 40)),
        max_size=30,
    )
)
def test_lengths_that_no_tenant_changes_count_for_the_owner_of_the_key(steps):
    """An owner's key, a shared one and one without an owner: the bytes of each stay exact."""
    part = _Part()
    for tenant, key, length in steps:
        assert part.event(tenant, [("text", key, length)], "all")
        _check(part)


@pytest.mark.parametrize("moves", ["from no owner", "to shared"])
def test_bytes_of_a_key_that_changes_its_owner_count_once(moves):
    """A tenant whose large value grows within the rule was refused after each restart, as the value took
    room from itself."""
    part = _Part()
    assert part.event("a", [("text", "a", 8000)], "all")
    if moves == "from no owner":
        part = part.restarted()
    assert part.event("a" if moves == "from no owner" else "b", [("text", "a", 8010)], "all")
    assert _check(part) == 0


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_restart_counts_the_same_bytes_of_any_type(form, data):
    """A value is held in one form, set by an agent or read from the changelog."""
    value_type, values = FORMS[form]
    table = KeyedTable("table", form_of("table", value_type))
    table.writer = _Writer("a")
    for key, value in data.draw(st.lists(st.tuples(st.sampled_from("ab"), values), max_size=4)):
        table[key] = value
        table.seal()
        table.join()
    store = [*table.delta(1)]
    after = KeyedTable("table", form_of("table", value_type))
    after.load(store)
    assert after.bytes_used == table.bytes_used
    assert after._kept == table._kept
    assert [*map(type, after._kept.values())] == [*map(type, table._kept.values())]


@pytest.mark.parametrize("act", ["delete", "shorten", "overwrite"])
def test_room_is_freed(act):
    """By a deletion, by a shorter value, or by a number in its place."""
    part = _Part()
    while part.event(HOSTILE, [("append", "a", 500)]):
        pass
    assert not part.event(HOSTILE, [("append", "a", 500)])
    write = {"delete": ("delete", "a"), "shorten": ("text", "a", 10), "overwrite": ("number", "a")}
    assert part.event(HOSTILE, [write[act]])
    assert part.event(HOSTILE, [("text", "b", 3000)])


def test_a_value_may_move_to_another_key():
    """An event is charged for its net growth, so a tenant at its share can still reorganise."""
    part = _Part()
    while part.event(HOSTILE, [("append", "a", 500)]):
        pass
    table, moved = part.table, part.table.kept((HOSTILE, "a"))
    table.writer = _Writer(HOSTILE)
    del table[HOSTILE, "a"]
    table[HOSTILE, "b"] = moved
    table.seal()
    table.join()
    _check(part)
    assert [*part.rows] == [(HOSTILE, "b")]


def test_a_key_written_by_two_tenants_is_charged_to_neither():
    """Charged to its first owner, a key that another tenant grows would use up the owner's share."""
    part = _Part()
    owners = part.table._weighing.owners
    for number in range(8):
        part.event(VICTIM, [("text", str(number), 100)], "all")
        part.event(HOSTILE, [("text", str(number), 3000)], "all")
    _check(part)
    assert 0 < owners.held(SHARED) <= BOUND // 2
    assert owners.held(HOSTILE) == 0
    assert part.event(VICTIM, [("text", "own", 1000)])


def test_a_refusal_names_table_figures_setting_and_next_step():
    """The operator reads it in the dead letter."""
    part = _Part()
    part.table.writer = _Writer(HOSTILE)
    part.table["a"] = "x" * BOUND
    with pytest.raises(
        TenantOverQuota, match=r"table 'table'.* 0 of 20000 bytes .*MAX_TABLE_BYTES"
    ):
        part.table.seal()


def test_events_without_a_tenant_are_not_refused():
    """An app without tenants stops at the bound and loses nothing."""
    part = _Part()
    assert part.event("", [("text", "a", BOUND)])
    with pytest.raises(StateLimit, match="table 'table' holds 1 keys"):
        part.table.check_bound()
