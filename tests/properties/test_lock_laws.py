"""Locks against a model: never two holders, and a stale holder's write is refused."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.connect.coordination.lease import take
from streams.connect.coordination.memory_locks import MemoryLocks
from streams.core.clock import VirtualClock
from streams.core.errors import CacheUnavailable

TTL_S = 10.0
WORKERS = st.integers(0, 3)


class LockMachine(RuleBasedStateMachine):
    """Four workers, one name, and a target that compares fences."""

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.locks = MemoryLocks(self.clock)
        self.leases = {}
        self.accepted = []

    def run(self, work):
        return self.loop.run_until_complete(work)

    @rule(worker=WORKERS)
    def take(self, worker):
        try:
            lease = self.run(take(self.locks, self.clock, "n", TTL_S))
        except CacheUnavailable:
            return
        if lease is not None:
            self.leases[worker] = lease

    @rule(worker=WORKERS)
    def renew(self, worker):
        if worker in self.leases:
            try:
                self.run(self.leases[worker].renew(self.locks))
            except CacheUnavailable:
                return

    @rule(worker=WORKERS)
    def release(self, worker):
        if worker in self.leases:
            lease = self.leases.pop(worker)
            lease.until_s = float("-inf")
            try:
                self.run(self.locks.release(lease.grant))
            except CacheUnavailable:
                return

    @rule(worker=WORKERS)
    def write_without_looking(self, worker):
        """A paused holder writes after its lease expired, between its check and its write."""
        if worker in self.leases:
            fence = self.leases[worker].fence
            if not self.accepted or fence >= self.accepted[-1][0]:
                self.accepted.append((fence, worker))

    @rule(worker=WORKERS)
    def write_as_a_holder(self, worker):
        """The target accepts every write of a process that holds the lock."""
        if worker in self.leases and self.leases[worker].held:
            fence = self.leases[worker].fence
            assert not self.accepted or fence >= self.accepted[-1][0]
            self.accepted.append((fence, worker))

    @rule(delta_s=st.sampled_from([0.5, 3.0, 9.9, 10.0, 25.0]))
    def wait(self, delta_s):
        self.run(self.clock.advance(delta_s))

    @rule(away=st.booleans())
    def redis(self, away):
        self.locks.away = away

    @invariant()
    def one_holder(self):
        held = [worker for worker, lease in getattr(self, "leases", {}).items() if lease.held]
        assert len(held) <= 1

    @invariant()
    def one_owner_a_fence(self):
        owners = {}
        for fence, worker in getattr(self, "accepted", []):
            assert owners.setdefault(fence, worker) == worker

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()


TestLocks = LockMachine.TestCase
TestLocks.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
