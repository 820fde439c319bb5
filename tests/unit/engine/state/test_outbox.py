"""The outbox: effects are kept until their version is acknowledged."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.engine.state.outbox import Outbox, OwedEffect
from tests.depth import cases

keys = st.sampled_from([b"L", b"D1", b"R2"])


class OutboxMachine(RuleBasedStateMachine):
    """Puts, acknowledgements (also old ones), commits, rewrites and crashes, compared with a model
    of the pending effects.
    """

    def __init__(self) -> None:
        super().__init__()
        self.box = Outbox()
        self.store: dict[bytes, bytes] = {}
        self.owed: dict[bytes, tuple[int, bytes]] = {}
        self.uncommitted: dict[bytes, bytes] = {}
        self.acknowledged: set[tuple[bytes, int]] = set()
        self.handed: list[OwedEffect] = []
        self.seq = 0

    @rule(key=keys, value=st.binary(max_size=3))
    def put(self, key: bytes, value: bytes) -> None:
        self.box.put(key, value)
        self.uncommitted[key] = value

    @rule(index=st.integers(0, 20))
    def answer(self, index: int) -> None:
        """Any effect ever handed over may be acknowledged, also repeatedly."""
        if self.handed:
            effect = self.handed[index % len(self.handed)]
            self.box.acknowledged(effect.key, effect.seq)
            self.acknowledged.add((effect.key, effect.seq))

    @rule(rewrites=st.lists(keys, max_size=2))
    def commit(self, rewrites: list[bytes]) -> None:
        self.seq += 1
        for key in rewrites:
            if key in self.store:
                self.box.rewrite(key, self.store[key])
        for key, value in self.box.delta(self.seq):
            if value is None:
                del self.store[key]
            else:
                self.store[key] = value
        for key, value in self.uncommitted.items():
            self.owed[key] = (self.seq, value)
        self.uncommitted = {}
        self.owed = {k: o for k, o in self.owed.items() if (k, o[0]) not in self.acknowledged}
        self.handed += self.box.take_fresh()

    @rule()
    def crash(self) -> None:
        self.box = Outbox()
        self.box.load(sorted(self.store.items()))
        self.uncommitted = {}
        repeated = self.box.take_fresh()
        stored = {
            k: OwedEffect(k, int.from_bytes(v[:8], "big"), v[8:]) for k, v in self.store.items()
        }
        assert sorted(repeated) == sorted(stored.values()), "a crash loses no pending effect"
        self.acknowledged = set()
        self.handed = repeated

    @invariant()
    def pending_effects_are_stored(self) -> None:
        """An acknowledgement deletes exactly its version of an effect."""
        stored = {k: (int.from_bytes(v[:8], "big"), v[8:]) for k, v in self.store.items()}
        unanswered = {k: o for k, o in self.owed.items() if (k, o[0]) not in self.acknowledged}
        assert unanswered.items() <= stored.items()
        assert stored.items() <= self.owed.items()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=cases(150), stateful_step_count=30, deadline=None)


def test_an_acknowledged_effect_leaves_the_outbox():
    """A partition is settled only when its outbox is empty."""
    box = Outbox()
    box.put(b"L", b"row")
    box.delta(1)
    (effect,) = box.take_fresh()
    assert (len(box), box.bytes_used) == (1, 3)
    box.acknowledged(effect.key, effect.seq)
    assert box.changed
    assert box.delta(2) == [(b"L", None)]
    assert (len(box), box.bytes_used, box.changed) == (0, 0, False)
