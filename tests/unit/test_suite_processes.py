"""Distribution of the tests over the processes of `make test`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"
FILES, TESTS = ("test_a.py", "test_b.py", "test_c.py"), 5
BODY = f"""
import os
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_one(number):
    with open("ran", "a") as ran:
        ran.write(f"{{os.path.basename(__file__)}} {{os.getpid()}}\\n")
"""


def test_the_tests_of_a_file_run_in_one_process(tmp_path):
    """They share fixtures such as a database, which each process would set up again. pytest 9.2
    made xdist ignore its groups without a message.
    """
    options = re.search(r"-m pytest (--numprocesses .*)", MAKEFILE.read_text())
    assert options is not None
    for name in FILES:
        (tmp_path / name).write_text(BODY)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "xdist",
            "-p",
            "no:cacheprovider",
            *options[1].split(),
        ],
        cwd=tmp_path,
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    processes = defaultdict(set)
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    for name, process in ran:
        processes[name].add(process)
    assert len(ran) == len(FILES) * TESTS
    assert {name: len(found) for name, found in processes.items()} == dict.fromkeys(FILES, 1)
