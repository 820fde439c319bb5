"""Known vulnerabilities of what the lock files name: `make audit`.

pip-audit asks the advisory database of PyPI, or of OSV with ``--service osv``. What it finds fails the
audit, but for what accepted.toml names: an id, why it does no harm here, and until when that is
believed. An entry that has expired, or would hold for more than `LONGEST_DAYS`, fails it too.

Exit codes: 0 nothing found, 1 something found, 2 accepted.toml is wrong, 4 the database is not reachable.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCKS = ("requirements.lock", "docker/requirements.lock")
LONGEST_DAYS = 90


def accepted(text: str, today: date) -> tuple[list[str], list[str]]:
    """The ids that accepted.toml lets pass, and what is wrong with it."""
    ids, wrong = [], []
    for entry in tomllib.loads(text).get("accepted", []):
        name = str(entry.get("id", "an entry without id"))
        until, reason = entry.get("until"), entry.get("reason")
        if not isinstance(until, date) or not isinstance(reason, str) or len(reason) < 10:
            wrong.append(f"{name}: needs `until = YYYY-MM-DD` and a `reason` of one sentence")
        elif until < today:
            wrong.append(f"{name}: expired on {until}. Upgrade the package, or judge it again")
        elif (until - today).days > LONGEST_DAYS:
            wrong.append(f"{name}: until {until} is more than {LONGEST_DAYS} days ahead")
        else:
            ids.append(name)
    return ids, wrong


def found(report: Mapping[str, Any]) -> list[str]:
    """One line for each vulnerability of pip-audit's JSON."""
    return [
        f"{package['name']} {package['version']}: {one['id']}, "
        f"mended in {', '.join(one['fix_versions']) or 'no version'}"
        for package in report["dependencies"]
        for one in package.get("vulns", [])
    ]


def skipped(report: Mapping[str, Any]) -> list[str]:
    """Packages that the database said nothing about: its answer was none."""
    return [one["name"] for one in report["dependencies"] if "skip_reason" in one]


def command(lock: Path, ids: Sequence[str], service: str) -> list[str]:
    ignored = [word for one in ids for word in ("--ignore-vuln", one)]
    return [
        *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"),
        *("--require-hashes", "--disable-pip", "--vulnerability-service", service),
        *("--requirement", str(lock), *ignored),
    ]


def _not_done(lock: str, service: str, why: str) -> int:
    print(
        f"audit: NOT DONE: the advisories of {service} could not be asked about {lock}: "
        f"{why[:300]}. Run `make audit` where they are reachable, or with SERVICE=osv.",
        file=sys.stderr,
    )
    return 4


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi")
    service = parser.parse_args(arguments).service
    ids, wrong = accepted((HERE / "accepted.toml").read_text(), datetime.now(UTC).date())
    if wrong:
        print("audit: accepted.toml:", *wrong, sep="\n  ", file=sys.stderr)
        return 2
    lines: set[str] = set()
    for name in LOCKS:
        lock = HERE.parents[1] / name
        asked = subprocess.run(
            command(lock, ids, service), capture_output=True, text=True, check=False
        )
        try:
            report = json.loads(asked.stdout)
            lines.update(found(report))
            unknown = skipped(report)
        except (ValueError, KeyError):
            return _not_done(name, service, [*asked.stderr.strip().splitlines(), "no answer"][-1])
        if unknown:
            said = f"it knows nothing of {len(unknown)} packages, {unknown[0]} for one"
            return _not_done(name, service, said)
    print(*sorted(lines) or ["audit: no known vulnerability"], sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
