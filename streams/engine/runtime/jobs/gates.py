"""What keeps work away from a dependency that fails, and only that work.

A *need* names one dependency of work: a policy, the policy service, a shard. A need that does not
fail has no gate here, only a bound on how much work asks it at once.

    absent -- a failure --> shut until a moment --> one work asks (the probe) --> absent
                              ^------------- it fails too ---------------'

A failure that may pass is a *round*. Work that waited through a round of its need has spent an
attempt as if it had asked itself, so that a need which fails for good is given up by all that wait
for it after as many rounds as one work has attempts. Failures of work that asked before the last
round ended belong to that round.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.engine.runtime.jobs.work import Work

ROUNDS_MAX = 10
"""No queue policy allows more attempts."""


class Said(NamedTuple):
    """What a need said last: the error's code, and a sentence."""

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
    """Of one dispatcher. Times are monotonic seconds. Bounded: a gate lives while its need fails
    and work asks for it, `forget_idle` drops the others."""

    def __init__(self, at_once: int) -> None:
        """``at_once`` work at most asks one named need (``shard 2``); all may ask a bare one."""
        self._at_once = at_once
        self._gates: dict[str, _Gate] = {}
        self._asking: Counter[str] = Counter()

    @property
    def shut(self) -> dict[str, float]:
        """Needs that fail now, and when each is asked again."""
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
        """It asks its needs from now on, until `release`."""
        for need in work.wanting:
            self._asking[need] += 1
            if (gate := self._gates.get(need)) is not None:
                gate.probe = work

    def release(self, work: Work, needs: tuple[str, ...], answered: tuple[str, ...]) -> None:
        """It asks ``needs`` no more; those ``answered`` do not fail."""
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
        """``need`` failed work that asked it; it is asked again in ``pause_s``. ``spends``: the
        failure is a round."""
        gate = self._gates.setdefault(need, _Gate(now_s))
        last_s = gate.failed_at_s[-1] if gate.failed_at_s else float("-inf")
        if spends and work.begun_s > last_s:
            gate.failed_at_s.append(now_s)
        gate.said = said
        gate.shut_until_s = max(gate.shut_until_s, now_s + pause_s)

    def spent(self, work: Work) -> tuple[int, Said]:
        """Rounds that a need of ``work`` failed since the work came, and what it said last."""
        if not self._gates:
            return 0, NOTHING
        need = max(work.wanting, key=lambda need: self.rounds(need, work), default="")
        gate = self._gates.get(need)
        return (self.rounds(need, work), gate.said) if gate is not None else (0, NOTHING)

    def rounds(self, need: str, work: Work) -> int:
        """Rounds that ``need`` failed since the work came."""
        gate = self._gates.get(need)
        if gate is None:
            return 0
        return sum(failed_at_s >= work.since_s for failed_at_s in gate.failed_at_s)

    def forget_idle(self, now_s: float, idle_s: float) -> None:
        """Drop gates that nothing has asked for ``idle_s``: what waited for them is gone."""
        for need, gate in list(self._gates.items()):
            if gate.probe is None and now_s - gate.shut_until_s > idle_s:
                del self._gates[need]
