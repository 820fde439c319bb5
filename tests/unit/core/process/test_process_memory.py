"""Memory of a worker process: large blocks are returned to the system, and the limit is known."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from streams.core.process import process_memory

_GROWS = """
import sys
import numpy as np
if sys.argv[1] == "settled":
    from streams.core.process import process_memory
    process_memory.settle()
from pathlib import Path

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident_bytes()
# glibc learns from a freed block that blocks up to its size come and go. Those that follow lie on
# its heap, and one small block above them keeps it from shrinking when they go.
larger = np.ones(1 << 20, np.int64)
del larger
large = [np.ones(1 << 19, np.int64) for _ in range(40)]
above = np.ones(1 << 18, np.int64)
large.clear()
print(resident_bytes() - before - above.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_large_blocks_are_returned_to_the_system():
    """Freed blocks that stay in the process count against its limit."""
    left = int(_run("settled"))
    assert left < 8 << 20 < int(_run("as it comes"))


_COMES_AND_GOES = """
import resource
import sys
import numpy as np
if sys.argv[1] == "settled":
    from streams.core.process import process_memory
    process_memory.settle()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(1 << 17, np.int64)
before = faults()
for _ in range(100):
    np.ones(1 << 17, np.int64)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults")
def test_the_heap_keeps_the_pages_of_blocks_that_come_and_go():
    """Each page that is returned and taken again is a page fault, which took a tenth of a worker's
    time: 256 pages a block of 1 MiB."""
    assert int(_run("settled", _COMES_AND_GOES)) < 2 * 256


def _run(how, script=_GROWS):
    return subprocess.run(
        [sys.executable, "-c", script, how], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("name", "text", "limited"),
    [
        ("memory.max", "1048576\n", True),
        ("memory.max", "max\n", False),
        ("memory/memory.limit_in_bytes", "1048576\n", True),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", False),
        ("absent", "", False),
    ],
)
def test_the_limit_is_that_of_the_container_or_else_the_machine(tmp_path, name, text, limited):
    """With the node's memory as limit, an alert at 80 % would come after the container was killed."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert process_memory.limit_bytes(tmp_path) == (1048576 if limited else machine)
