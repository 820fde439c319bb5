"""The replicas of one shard, queried in turn.

Counts would decrease after a failover to a lagging replica, so a reader skips replicas beyond a
delay. Where all lag, it reads the least delayed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from streams.connect.sinks.replica import Replica
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import RowsRefused

T = TypeVar("T")

READ_DELAY_MAX_S: Final = 5.0


def stale_shard(shard: int, behind_s: float) -> str:
    """What a command says beside an answer."""
    return f"every replica of shard {shard} is behind: rows of the last {behind_s:.0f} s may be missing."


class ReplicaGroup:
    """``delay_max_s`` None: any replica is used, as by writers. ``stale`` False: `ask` raises
    instead of reading a replica beyond the delay."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        delay_max_s: float | None = None,
        stale: bool = True,
    ) -> None:
        self._replicas = list(replicas)
        self._delay_max_s = delay_max_s if len(self._replicas) > 1 else None
        self._stale = stale
        self._preferred = 0
        self.behind_s = 0.0
        """how far the replica that answered last was behind the others, beyond the delay; 0: not"""

    def ask(self, work: Callable[[Replica], T]) -> T:
        """On the first available replica, beginning with the last that answered. Raises
        `ShardUnavailable` when none answers, and the errors of ``work``."""
        failures: list[ShardUnavailable] = []
        lagging: list[tuple[float, int]] = []
        for step in range(len(self._replicas)):
            choice = (self._preferred + step) % len(self._replicas)
            try:
                if self._delay_max_s is not None:
                    delay_s = self._replicas[choice].delay_s()
                    if delay_s > self._delay_max_s:
                        lagging.append((delay_s, choice))
                        continue
                return self._on(choice, work)
            except ShardUnavailable as error:
                failures.append(error)
        if lagging and self._stale:
            behind_s, choice = min(lagging)
            return self._on(choice, work, behind_s)
        failures += [
            ShardUnavailable(f"ClickHouse at {self._replicas[n].url} is {delay_s:.0f} s behind.")
            for delay_s, n in lagging
        ]
        if len(failures) == 1:
            raise failures[0]
        raise ShardUnavailable(
            "no replica took the request: " + "; ".join(str(failure) for failure in failures)
        )

    def look(self) -> float:
        """Ask the replicas for their delay: ``behind_s`` of an answer that they would give now. One replica is
        not asked; 0 where none answers, as the question itself then fails."""
        if self._delay_max_s is not None:
            with suppress(ShardUnavailable):
                self.ask(lambda _: None)
        return self.behind_s

    @property
    def confirmed(self) -> bool:
        """Whether a server has confirmed that it holds this shard of this map."""
        return any(replica.confirmed for replica in self._replicas)

    def close(self) -> None:
        for replica in self._replicas:
            replica.close()

    def _on(self, choice: int, work: Callable[[Replica], T], behind_s: float = 0.0) -> T:
        try:
            result = work(self._replicas[choice])
        except RowsRefused:
            self._preferred = choice
            raise
        self._preferred, self.behind_s = choice, behind_s
        return result
