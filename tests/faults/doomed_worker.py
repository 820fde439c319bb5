"""A worker that gets a signal just before or just after its nth call of one kind.

python doomed_worker.py SLOT SIGKILL|SIGSTOP before|after CALL NTH NOTE

The engine is unchanged: only its clients are wrapped, as the simulation wraps its own. The process
writes the moment of the signal into the file ``NOTE``.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streams.cli import main
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.types import TopicPartition
from streams.engine.state.rocksdb import RocksFolder


class Doom:
    """Counts the calls of one kind; sends the signal at the nth."""

    def __init__(self, blow: signal.Signals, moment: str, call: str, nth: int, note: Path) -> None:
        self._blow = blow
        self._at = (moment, call)
        self._left = nth
        self._note = note

    def reached(self, moment: str, call: str) -> None:
        if (moment, call) != self._at:
            return
        self._left -= 1
        if self._left == 0:
            self._note.write_text(f"{moment} {call}")
            os.kill(os.getpid(), self._blow)


class Watched:
    """Forwards every call to ``real`` and reports it to the doom as ``role.method``."""

    def __init__(self, doom: Doom, role: str, real: Any) -> None:
        self._doom, self._role, self._real = doom, role, real

    def __getattr__(self, name: str) -> Any:
        real, call, doom = getattr(self._real, name), f"{self._role}.{name}", self._doom
        if inspect.iscoroutinefunction(real):

            async def watched_wait(*args: Any, **options: Any) -> Any:
                doom.reached("before", call)
                result = await real(*args, **options)
                doom.reached("after", call)
                return result

            return watched_wait
        if not callable(real):
            return real

        return reported(doom, call, real)


def reported(doom: Doom, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """``real``, which reports its begin and its end to the doom."""

    def watched(*args: Any, **options: Any) -> Any:
        doom.reached("before", call)
        result = real(*args, **options)
        doom.reached("after", call)
        return result

    return watched


def watch_clients(doom: Doom) -> None:
    """Wrap every client that the composition root creates."""
    for role, factory in (("consumer", "consumer"), ("producer", "transactional_producer")):
        made = getattr(KafkaBroker, factory)
        setattr(KafkaBroker, factory, _watched_product(doom, role, made))
    opened = KafkaBroker.reader

    async def reader(self: KafkaBroker) -> Any:
        return Watched(doom, "reader", await opened(self))

    KafkaBroker.reader = reader
    open_store = RocksFolder.__call__

    def store(self: RocksFolder, tp: TopicPartition, fresh: bool) -> Any:
        doom.reached("before", "store.open")
        found = open_store(self, tp, fresh)
        doom.reached("after", "store.open")
        return Watched(doom, "store", found)

    RocksFolder.__call__ = store
    for name in ("insert", "roll_up"):
        setattr(ClickHouseShards, name, _watched_call(doom, name))


def _watched_product(doom: Doom, role: str, made: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: Watched(doom, role, made(*args, **options))


def _watched_call(doom: Doom, name: str) -> Callable[..., Any]:
    real = getattr(ClickHouseShards, name)

    async def call(*args: Any) -> None:
        doom.reached("before", f"shards.{name}")
        await real(*args)
        doom.reached("after", f"shards.{name}")

    return call


if __name__ == "__main__":
    number, blow, moment, call, nth, note = sys.argv[1:]
    watch_clients(Doom(signal.Signals[blow], moment, call, int(nth), Path(note)))
    sys.exit(main(["worker", "--agents", "aggregate_metrics", "--slot", number]))
