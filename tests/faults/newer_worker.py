"""A worker of the next version: it writes the next format of the state and still reads the current
one.

python newer_worker.py SLOT

Only the number of the format changes: a later version's bytes do not matter here.
"""

from __future__ import annotations

import sys

import streams.engine.runtime.restore.state
import streams.engine.state.changelog
from streams.cli import main
from streams.engine.runtime.restore.state import STORE_FORMAT
from streams.engine.state.changelog import FORMAT


def become_newer() -> None:
    """Set the formats of changelog and store to the next ones."""
    streams.engine.state.changelog.FORMAT = FORMAT + 1
    streams.engine.state.changelog.READABLE = frozenset({FORMAT, FORMAT + 1})
    streams.engine.runtime.restore.state.STORE_FORMAT = STORE_FORMAT + 1
    streams.engine.runtime.restore.state.STORE_READABLE = frozenset(
        {STORE_FORMAT, STORE_FORMAT + 1}
    )


if __name__ == "__main__":
    become_newer()
    sys.exit(main(["worker", "--agents", "aggregate_metrics", "--slot", sys.argv[1]]))
