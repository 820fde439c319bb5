"""A worker of the version after this one: it writes the next format of the state, and still reads
today's.

    python newer_worker.py SLOT

What a later version would change in the bytes does not matter here; that it changes the number
does.
"""

from __future__ import annotations

import sys

import streams.engine.runtime.restore.state
import streams.engine.state.changelog
from streams.cli import main
from streams.engine.runtime.restore.state import STORE_FORMAT
from streams.engine.state.changelog import FORMAT


def become_newer() -> None:
    """The formats of changelog and store are the next ones."""
    streams.engine.state.changelog.FORMAT = FORMAT + 1
    streams.engine.state.changelog.READABLE = frozenset({FORMAT, FORMAT + 1})
    streams.engine.runtime.restore.state.STORE_FORMAT = STORE_FORMAT + 1
    streams.engine.runtime.restore.state.STORE_READABLE = frozenset(
        {STORE_FORMAT, STORE_FORMAT + 1}
    )


if __name__ == "__main__":
    become_newer()
    sys.exit(main(["worker", "--agents", "aggregate_metrics", "--slot", sys.argv[1]]))
