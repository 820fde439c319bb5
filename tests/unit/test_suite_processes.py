"""Distribution of the tests over the processes of `make test`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.distribution import IN_ONE_PROCESS

ROOT = Path(__file__).parents[2]
FOLDER = IN_ONE_PROCESS[0]
FILES, TESTS = ("test_a.py", "test_b.py", "test_c.py"), 5
OF_THE_FOLDER = (f"{FOLDER}test_d.py", f"{FOLDER}test_e.py", f"{FOLDER}test_f.py")
CONFTEST = "from tests.distribution import pytest_xdist_make_scheduler\n"
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
    made xdist ignore its groups without a message. The files of some folders share fixtures, too.
    """
    options = re.search(r"-m pytest --numprocesses \d+ (.*)", (ROOT / "Makefile").read_text())
    assert options is not None
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in (*FILES, *OF_THE_FOLDER):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
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
            *("--numprocesses", "2"),  # as good as more, and each takes a second to start
            *options[1].split(),
        ],
        cwd=tmp_path,
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    processes = defaultdict(set)
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    for name, process in ran:
        processes[name].add(process)
    assert len(ran) == (len(FILES) + len(OF_THE_FOLDER)) * TESTS
    assert all(len(found) == 1 for found in processes.values())
    assert len(set.union(*(processes[Path(name).name] for name in OF_THE_FOLDER))) == 1
