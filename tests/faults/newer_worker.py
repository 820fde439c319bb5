"""A worker of the version after this one: it writes the next format of the state, and still reads
today's.

    python newer_worker.py SLOT

What a later version would change in the bytes does not matter here; that it changes the number
does.
"""

from __future__ import annotations

import sys

import streams.runtime.state
import tables.changelog
from streams.cli import main
from streams.runtime.state import STORE_FORMAT
from tables.changelog import FORMAT


def become_newer() -> None:
    """The formats of changelog and store are the next ones."""
    tables.changelog.FORMAT = FORMAT + 1
    tables.changelog.READABLE = frozenset({FORMAT, FORMAT + 1})
    streams.runtime.state.STORE_FORMAT = STORE_FORMAT + 1
    streams.runtime.state.STORE_READABLE = frozenset({STORE_FORMAT, STORE_FORMAT + 1})


if __name__ == "__main__":
    become_newer()
    sys.exit(main(["worker", "--agents", "aggregate_metrics", "--slot", sys.argv[1]]))
