"""`python -m tests.mutation [MODULE ...]`: measure modules, store the scores, write the report.

A module is a file below streams/, or a folder of them; without one, every target without a score or
whose source changed since its score. ``--at-most`` bounds the mutants of a file (`mutants.mutants`
draws the sample), ``--report`` only rewrites REPORT.md.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import subprocess
import sys
import time
from pathlib import Path

from tests.mutation import report
from tests.mutation.mutants import mutants
from tests.mutation.scores import Score, load, save
from tests.mutation.targets import files, tests_of
from tests.mutation.trial import TestsFail, judge, tell

ROOT = Path(__file__).parents[2]
# Third-party packages that most tests load: imported once, before the children are forked.
_SHARED = ("msgspec", "structlog", "httpx", "prometheus_client", "numpy", "cachetools", "aiokafka")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="files or folders, e.g. streams/core/resilience")
    parser.add_argument("--at-most", type=int, default=60, help="mutants of a file (60)")
    parser.add_argument("--report", action="store_true", help="write the report only")
    chosen = parser.parse_args()
    scores, failed = load(), False
    if not chosen.report:
        for name in _SHARED:
            importlib.import_module(name)
        for path in files(ROOT, chosen.modules):
            if not chosen.modules and path in scores and scores[path].source == _digest(path):
                continue
            try:
                score = _measured(path, chosen.at_most)
            except TestsFail as error:
                tell(str(error))
                failed = True
                continue
            if score is not None:
                scores[path] = score
                save(scores)
    report.write(ROOT, scores)
    return int(failed)


def _measured(path: str, at_most: int) -> Score | None:
    total, found = mutants(path, (ROOT / path).read_text(), at_most)
    if not found:
        return None
    tests = tests_of(path)
    tell(f"{path}: {len(found)} of {total} mutants, {' '.join(tests)}")
    began = time.monotonic()
    verdicts = judge(ROOT / path, tests, found)
    by_verdict: dict[str, list[str]] = {
        "killed": [],
        "timeout": [],
        "survived": [],
        "unreached": [],
    }
    for mutant in found:
        by_verdict[verdicts[mutant.number]].append(mutant.name.removeprefix(f"{path} "))
    counts = ", ".join(f"{len(names)} {name}" for name, names in by_verdict.items())
    tell(f"{path}: {counts} in {time.monotonic() - began:.0f} s")
    return Score(
        source=_digest(path),
        commit=_git("rev-parse", "--short=10", "HEAD"),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        mutants=total,
        tried=len(found),
        killed=len(by_verdict["killed"]),
        timeout=len(by_verdict["timeout"]),
        survived=by_verdict["survived"],
        unreached=by_verdict["unreached"],
    )


def _digest(path: str) -> str:
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()[:16]


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
