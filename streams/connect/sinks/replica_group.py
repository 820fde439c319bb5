"""The replicas of one shard, asked in turn.

A replica that lags would make counts go backwards after a failover: a reader names a delay beyond
which a replica is passed over. Where all that answer lag, the one that lags least is read, unless
the reader wants none of them (an audit would call missing what has only not arrived).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from streams.connect.sinks.replica import Replica
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import RowsRefused

T = TypeVar("T")

READ_DELAY_MAX_S: Final = 5.0


class ReplicaGroup:
    """``delay_max_s`` None: a replica is asked whatever it lags, as writers do, and where there is
    only one. ``stale`` False: `ask` raises rather than read a replica that lags more."""

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

    def ask(self, work: Callable[[Replica], T]) -> T:
        """``work`` on the first replica that is available, starting with the last one that was.

        Raises `ShardUnavailable` when none was, and what else ``work`` raises.
        """
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
            return self._on(min(lagging)[1], work)
        failures += [
            ShardUnavailable(f"ClickHouse at {self._replicas[n].url} is {delay_s:.0f} s behind.")
            for delay_s, n in lagging
        ]
        if len(failures) == 1:
            raise failures[0]
        raise ShardUnavailable(
            "no replica took the request: " + "; ".join(str(failure) for failure in failures)
        )

    @property
    def confirmed(self) -> bool:
        """A server of it has said that it holds this shard of this map."""
        return any(replica.confirmed for replica in self._replicas)

    def close(self) -> None:
        for replica in self._replicas:
            replica.close()

    def _on(self, choice: int, work: Callable[[Replica], T]) -> T:
        try:
            result = work(self._replicas[choice])
        except RowsRefused:
            self._preferred = choice
            raise
        self._preferred = choice
        return result
