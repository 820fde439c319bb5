"""The mutants of `make mutation`: each changes one place, and none changes text."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants, mutated
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]

SOURCE = '''"""A docstring with 3 figures."""
import os
LIMIT_S: float = 30.0
class Rule:
    """Decides."""
    failures: int = 5
    def opens(self, failed: int, closed: bool) -> bool:
        """Whether it does."""
        if failed >= self.failures and not closed:
            log.warning("opened", failed=failed + 1)
            self.tell(f"{failed} of {5}")
            return True
        return False
'''


def _names(source, at_most=100):
    return [mutant.name for mutant in mutants("m.py", source, at_most)[1]]


def test_mutants_change_figures_decisions_and_calls_and_no_text():
    """A mutant of a docstring, a log line or a message always survives and hides the others."""
    assert sorted(_names(SOURCE)) == sorted(
        [
            "m.py module: 30.0 -> 60.0 in LIMIT_S: float = 30.0",
            "m.py Rule: 5 -> 6 in failures: int = 5",
            "m.py Rule.opens: failed >= self.failures and (not closed) -> "  # noqa: ISC004
            "failed >= self.failures or not closed",
            "m.py Rule.opens: failed >= self.failures -> failed > self.failures",
            "m.py Rule.opens: not closed -> closed",
            "m.py Rule.opens: self.tell(f'{failed} of {5}') -> removed",
            "m.py Rule.opens: True -> False in return True",
            "m.py Rule.opens: False -> True in return False",
        ]
    )


def test_a_mutant_differs_from_its_source_in_one_place():
    """Two changes may hide each other."""
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in mutants("m.py", SOURCE, 100)[1]:
        changed = ast.unparse(mutated(SOURCE, mutant)).splitlines()
        assert sum(old != new for old, new in zip(plain, changed, strict=True)) == 1, mutant.name


@pytest.mark.parametrize("at_most", [2, 4])
def test_a_sample_is_always_the_same_and_holds_every_declared_figure(at_most):
    """Otherwise scores of two days could not be compared. Declared figures are the main target."""
    drawn = _names(SOURCE, at_most)
    assert drawn == _names(SOURCE, at_most)
    assert len(drawn) == at_most
    assert {name.split(":")[0] for name in drawn} >= {"m.py module", "m.py Rule"}


def test_every_target_and_each_of_its_tests_exists():
    """Without one of its tests, no mutant of a module is judged."""
    named = {name for tests in TARGETS.values() for name in tests} | TARGETS.keys()
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


CONFTEST = """
import gc, sys
sys.path.insert(0, {folder!r})
def pytest_collection_finish():
    gc.freeze()
"""
LIMITS = "def over(count):\n    return count > 3\n"
LIMIT_TEST = "import limits\ndef test_over():\n    assert not limits.over(3) and limits.over(4)\n"


JUDGE = """
import json, sys
from pathlib import Path
from tests.mutation import trial
from tests.mutation.mutants import mutants
folder = Path(sys.argv[1])
trial.OUTPUT = folder / "output.txt"
found = mutants("limits.py", (folder / "limits.py").read_text(), 100)[1]
verdicts = trial.judge(folder / "limits.py", [str(folder)], found)
print(json.dumps({mutant.change: verdicts[mutant.number] for mutant in found}))
"""


def test_a_change_is_judged_where_the_tests_freeze_what_they_imported(tmp_path):
    """`gc.get_objects` does not list frozen functions: no change was made, and each one survived."""
    (tmp_path / "conftest.py").write_text(CONFTEST.format(folder=str(tmp_path)))
    (tmp_path / "test_limits.py").write_text(LIMIT_TEST)
    (tmp_path / "limits.py").write_text(LIMITS)
    # A child that is forked from this process would report what earlier tests left open here.
    judged = subprocess.run(
        [sys.executable, "-c", JUDGE, str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout) == {
        "count > 3 -> count >= 3": "killed",
        "3 -> 4 in count > 3": "killed",
    }
