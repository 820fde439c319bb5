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
from tables.changelog import FORMAT


def become_newer() -> None:
    """Every module that knows the format learns the next one."""
    for module in (tables.changelog, streams.runtime.state):
        module.FORMAT = FORMAT + 1
        module.READABLE = frozenset({FORMAT, FORMAT + 1})


if __name__ == "__main__":
    become_newer()
    sys.exit(main(["worker", "--agents", "aggregate_metrics", "--slot", sys.argv[1]]))
