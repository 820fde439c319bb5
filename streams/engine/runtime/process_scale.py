"""How many worker processes a host runs, by what they report: one more at a time while they are
overloaded, one fewer while the others would do."""

from __future__ import annotations

from typing import Final, NamedTuple

UP_BEHIND_S: Final = 5.0
"""age of an unread record above which a process is added"""
UP_BUSY: Final = 0.7
"""share of a processor that each process uses, on average, above which one is added"""
DOWN_BEHIND_S: Final = 1.0
DOWN_BUSY: Final = 0.5
"""share that each process would use, on average, after one ended. It is below `UP_BUSY`: a process that
was added for the processors' sake is not ended by the same load"""


class HostLoad(NamedTuple):
    """``behind_s``: age of the oldest record that waits on this host. ``busy``: processors that its workers
    use, in all. ``starting``: a process starts, ends or restores. ``idle``: a process has no
    partition, so one more would have none either."""

    behind_s: float
    busy: float
    starting: bool = False
    idle: bool = False


class ScaleDecision(NamedTuple):
    before: int
    after: int
    why: str


class ProcessScale:
    """Between ``least`` and ``most``; it begins with ``least``. After ``up_s`` of overload it adds a process,
    after ``down_s`` of idleness it ends one. Both times begin anew once every process is at work, so
    the effect of one change is seen before the next. Times are monotonic seconds."""

    def __init__(self, least: int, most: int, up_s: float, down_s: float) -> None:
        assert 1 <= least <= most
        self.least, self.most = least, most
        self.size = least
        self._up_s, self._down_s = up_s, down_s
        self._over_since_s: float | None = None
        self._under_since_s: float | None = None

    def step(self, load: HostLoad, now_s: float) -> ScaleDecision | None:
        """What follows from the load at ``now_s``; `size` is then that of the decision."""
        over = not load.starting and self._over(load)
        under = not load.starting and self._under(load)
        self._over_since_s = _since(self._over_since_s, now_s, holds=over)
        self._under_since_s = _since(self._under_since_s, now_s, holds=under)
        if (
            self.size < self.most
            and not load.idle
            and _lasts(self._over_since_s, now_s, self._up_s)
        ):
            return self._to(self.size + 1, load)
        if self.size > self.least and _lasts(self._under_since_s, now_s, self._down_s):
            return self._to(self.size - 1, load)
        return None

    def _over(self, load: HostLoad) -> bool:
        return load.behind_s > UP_BEHIND_S or load.busy > UP_BUSY * self.size

    def _under(self, load: HostLoad) -> bool:
        return load.behind_s < DOWN_BEHIND_S and load.busy < DOWN_BUSY * (self.size - 1)

    def _to(self, size: int, load: HostLoad) -> ScaleDecision:
        before, self.size = self.size, size
        self._over_since_s = self._under_since_s = None
        why = f"{load.behind_s:.1f} s behind, {load.busy:.2f} processors used"
        return ScaleDecision(before, size, why)


def _since(since_s: float | None, now_s: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now_s if since_s is None else since_s


def _lasts(since_s: float | None, now_s: float, for_s: float) -> bool:
    return since_s is not None and now_s - since_s >= for_s
