"""A keyed table equals a dictionary of completed events: a failed event leaves nothing, and a
restart restores the committed state."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import form_of

KEYS = st.one_of(st.sampled_from(["a", "b", b"a", 1, ("a", 1), ("a", b"x")]), st.text(max_size=3))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False),
    st.text(max_size=5), st.binary(max_size=5),
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(), SCALARS))
WRITES = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("change"), KEYS, SCALARS),
    st.tuples(st.just("read"), KEYS),
    st.tuples(st.just("look"), KEYS),
)
STEPS = st.one_of(
    st.tuples(st.just("event"), st.lists(WRITES, max_size=4), st.booleans()),
    st.just(("commit",)),
    st.just(("restart",)),
    st.tuples(st.just("rewrite"), st.integers(0, 5)),
)


class _Writer:
    """A scope with an event always in progress, and all keys in the partition."""

    in_event = True
    author = "t"

    def __init__(self) -> None:
        self.touched = 0

    def stage(self, table):
        self.touched += 1

    def check_owned(self, table, key):
        pass


def _table():
    table = KeyedTable("table", form_of("table", None), default=list)
    table.writer = _Writer()
    return table


def _write(target, write):
    match write:
        case "set", key, value:
            target[key] = value
        case "delete", key:
            target.pop(key, None)
        case "change", key, value:
            found = target.get(key, [])
            if isinstance(found, list):
                target[key] = [*found, value]
        case "read", key:
            _ = target.get(key)


def _change_in_place(table, write):
    """The change that `_write` makes in a model by assignment, made in place on the table's object."""
    match write:
        case "change", key, value:
            found = table[key]
            if isinstance(found, list):
                found.append(value)
        case "look", key:
            _ = table[key]
        case _:
            _write(table, write)


def _commit(table, store):
    for key, value in table.delta(1):
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value


def _same(table, model):
    assert dict(table.items()) == model
    table.drop()  # the reader may change what it got
    assert {type(value) for value in dict(table.items()).values()} == set(map(type, model.values()))
    table.drop()


CHANGED_AFTER_DELETION = [("set", "a", None), ("delete", "a"), ("change", "a", None)]
LOOKED_AT_AFTER_DELETION = [("delete", "a"), ("look", "a"), ("read", "a")]
SET_AFTER_A_LOOK = [("look", "a"), ("set", "a", None)]
SET_AFTER_A_CHANGE = [("change", "a", None), ("delete", "a"), ("set", "a", None)]


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=12))
@example([("event", CHANGED_AFTER_DELETION, True)])
@example([("event", CHANGED_AFTER_DELETION, True), ("event", LOOKED_AT_AFTER_DELETION, True)])
@example([("event", SET_AFTER_A_LOOK, True)])
@example([("event", SET_AFTER_A_CHANGE, True)])
def test_the_state_equals_that_of_the_completed_events(steps):
    """With reads, assignments, changes in place, deletions, dropped events, commits and restarts in
    any order. A key belongs to its tenant from the event that creates it to the one that deletes
    it."""
    table, model, committed, store, owned = _table(), {}, {}, {}, set()
    for step in steps:
        match step:
            case "event", writes, completes:
                after = dict(model)
                for write in writes:
                    _change_in_place(table, write)
                    _write(after, write)
                if completes:
                    table.seal()
                    table.join()
                    owned = (owned & after.keys()) | (after.keys() - model.keys())
                    model = after
                else:
                    table.drop()
            case "rewrite", number if store:
                key = sorted(store)[number % len(store)]
                table.rewrite(key, store[key])
            case ("commit",):
                _commit(table, store)
                committed = dict(model)
            case ("restart",):
                table, model, owned = _table(), dict(committed), set()
                table.load(sorted(store.items()))
        _same(table, model)
        assert owned <= table._weighing.owners._owner.keys() <= model.keys()


@settings(max_examples=40)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.data())
def test_staged_changes_are_not_in_a_commit(content, data):
    """A commit in the middle of an event encodes the state before that event."""
    table, store = _table(), {}
    for key, value in content.items():
        table[key] = value
    table.seal()
    table.join()
    for write in data.draw(st.lists(WRITES, max_size=5)):
        _change_in_place(table, write)
    _commit(table, store)
    after = _table()
    after.load(sorted(store.items()))
    _same(after, content)
