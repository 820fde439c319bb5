"""REPORT.md: the scores of all measured modules, and every surviving mutant with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.mutation.scores import Score
from tests.mutation.targets import files

_HERE = Path(__file__).parent
_REPORT = _HERE / "REPORT.md"
_EQUIVALENT = _HERE / "equivalent.toml"

_HEAD = """\
# Mutation scores

Written by `make mutation`. A mutant is one small change of a module: a figure, a comparison, a
condition, an operator, a removed statement. It is *killed* when a test of the module fails, or when
the tests do not end in time. It is *equivalent* when no behaviour changes that a caller could rely
on; each such one has its reason below. It *survives* when a test is missing. *Unreached*: no test of
the module executes the line.

Which tests hold a module is declared in [targets.py](targets.py): unit, property and in-memory
contract tests. The simulation, the real stack and the fault tests are not run. Where a module has
more mutants than were tried, all figures of declarations and a fixed random sample of the rest were.

Score: killed / (tried - equivalent).
"""


def reasons() -> dict[str, str]:
    """Why a mutant counts as equivalent, by its name."""
    found = tomllib.loads(_EQUIVALENT.read_text())
    return {mutant["name"]: mutant["reason"] for mutant in found.get("mutant", [])}


def write(root: Path, scores: Mapping[str, Score]) -> None:
    """Rewrite REPORT.md."""
    why = reasons()
    rows, living, equivalent = [], [], []
    for path, score in sorted(scores.items()):
        same = [name for name in score.survived + score.unreached if f"{path} {name}" in why]
        survived = [name for name in score.survived if name not in same]
        unreached = [name for name in score.unreached if name not in same]
        killed = score.killed + score.timeout
        counted = score.tried - len(same)
        share = f"{killed / counted:.0%}" if counted else "-"
        rows.append(
            f"| {path} | {score.mutants} | {score.tried} | {killed} | {len(survived)} | "
            f"{len(unreached)} | {len(same)} | {share} | {score.date} | {score.commit} |"
        )
        living += [f"- `{path}` {_code(name)}" for name in survived]
        living += [f"- `{path}` {_code(name)} (unreached)" for name in unreached]
        equivalent += [f"- `{path}` {_code(name)}: {why[f'{path} {name}']}" for name in same]
    missing = [path for path in files(root, ()) if path not in scores]
    parts = [
        _HEAD,
        "| module | mutants | tried | killed | survived | unreached | equivalent | score | date | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "\n## Survivors and unreached\n",
        *(living or ["None."]),
        "\n## Equivalent\n",
        *(equivalent or ["None."]),
        "\n## Targets without a score\n",
        *([f"- `{path}`" for path in missing] or ["None."]),
    ]
    _REPORT.write_text("\n".join(parts) + "\n")


def _code(name: str) -> str:
    return f"``{name}``" if "`" in name else f"`{name}`"
