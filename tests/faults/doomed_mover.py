"""`dia shards move` that kills itself just before or just after its nth call of one kind.

python doomed_mover.py before|after CALL NTH NOTE MAP OPTION...

The mover is unchanged: only its store is watched. The process writes the moment into the file ``NOTE``.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from streams.cli import main
from streams.connect.sinks.moves.clickhouse import ClickHouseMoves
from tests.faults.doomed_worker import Doom, reported


def watch(doom: Doom, call: str) -> None:
    """Wrap one method of the store, or ``statement``: each statement that changes a shard."""
    name = "_command" if call == "statement" else call
    setattr(ClickHouseMoves, name, reported(doom, call, getattr(ClickHouseMoves, name)))


if __name__ == "__main__":
    moment, call, nth, note, *words = sys.argv[1:]
    watch(Doom(signal.SIGKILL, moment, call, int(nth), Path(note)), call)
    sys.exit(main(["shards", "move", *words]))
