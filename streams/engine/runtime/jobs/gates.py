"""Holds back work whose dependency fails, and only that work (docs/protocols/jobs.md, W4).

A *need* names a dependency: a policy, the policy service, a shard. Only a failing need has a gate.

    absent -- a failure --> shut until a moment --> one work asks (the probe) --> absent
                              ^------------- it fails too ---------------'

A transient failure is a *round*; waiting through a round spends an attempt of the work. Failures of
work that asked before the last round ended belong to that round.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.engine.runtime.jobs.work import Work

ROUNDS_MAX = 10
"""the most attempts that a queue policy allows"""


class Said(NamedTuple):
    code: str
    why: str


NOTHING = Said("", "")


@dataclass(slots=True)
class _Gate:
    shut_until_s: float
    failed_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=ROUNDS_MAX))
    probe: Work | None = None
    said: Said = NOTHING


class Gates:
    """For one dispatcher. Times are monotonic seconds. `forget_idle` bounds the number of gates."""

    def __init__(self, at_once: int) -> None:
        """``at_once`` bounds the work that asks a need with a parameter (``shard 2``); others are
        unbounded."""
        self._at_once = at_once
        self._gates: dict[str, _Gate] = {}
        self._asking: Counter[str] = Counter()

    @property
    def shut(self) -> dict[str, float]:
        """The failing needs, and when each is asked again."""
        return {need: gate.shut_until_s for need, gate in self._gates.items()}

    def open(self, needs: tuple[str, ...], now_s: float) -> bool:
        """Whether work with these needs may ask them now."""
        for need in needs:
            if " " in need and self._asking[need] >= self._at_once:
                return False
            gate = self._gates.get(need)
            if gate is not None and (now_s < gate.shut_until_s or gate.probe is not None):
                return False
        return True

    def ask(self, work: Work) -> None:
        """Count the work as asking, until `release`."""
        for need in work.wanting:
            self._asking[need] += 1
            if (gate := self._gates.get(need)) is not None:
                gate.probe = work

    def release(self, work: Work, needs: tuple[str, ...], answered: tuple[str, ...]) -> None:
        """The work stops asking ``needs``; those ``answered`` do not fail."""
        for need in needs:
            self._asking[need] -= 1
            if not self._asking[need]:
                del self._asking[need]
            gate = self._gates.get(need)
            if gate is None:
                continue
            if need in answered:
                del self._gates[need]
            elif gate.probe is work:
                gate.probe = None

    def failed(
        self, need: str, work: Work, now_s: float, pause_s: float, *, spends: bool, said: Said
    ) -> None:
        """``need`` failed ``work``; ask again in ``pause_s``. ``spends``: the failure is a
        round."""
        gate = self._gates.setdefault(need, _Gate(now_s))
        last_s = gate.failed_at_s[-1] if gate.failed_at_s else float("-inf")
        if spends and work.begun_s > last_s:
            gate.failed_at_s.append(now_s)
        gate.said = said
        gate.shut_until_s = max(gate.shut_until_s, now_s + pause_s)

    def spent(self, work: Work) -> tuple[int, Said]:
        """Most rounds of a need of ``work`` since it was submitted, and that need's last error."""
        if not self._gates:
            return 0, NOTHING
        need = max(work.wanting, key=lambda need: self.rounds(need, work), default="")
        gate = self._gates.get(need)
        return (self.rounds(need, work), gate.said) if gate is not None else (0, NOTHING)

    def rounds(self, need: str, work: Work) -> int:
        gate = self._gates.get(need)
        if gate is None:
            return 0
        return sum(failed_at_s >= work.since_s for failed_at_s in gate.failed_at_s)

    def forget_idle(self, now_s: float, idle_s: float) -> None:
        """Drop gates that were not asked for ``idle_s``."""
        for need, gate in list(self._gates.items()):
            if gate.probe is None and now_s - gate.shut_until_s > idle_s:
                del self._gates[need]
