"""The dependency audit: it fails for findings and for a missing answer; the bill of materials is
complete.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "ops" / "supply_chain"


def _load(name):
    spec = importlib.util.spec_from_file_location(f"dia_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit, sbom = _load("audit"), _load("sbom")
TODAY = date(2027, 1, 1)
REASON = "Only its server part; we use the client."


def _entry(until, reason=REASON):
    return f'[[accepted]]\nid = "PYSEC-1"\nreason = "{reason}"\nuntil = {until}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_entry("2026-12-31"), "expired on 2026-12-31"),
        (_entry("2027-06-01"), "more than 90 days ahead"),
        (_entry("2027-02-01", ""), "reason"),
        ('[[accepted]]\nid = "PYSEC-1"\n', "until"),
    ],
)
def test_an_exception_has_a_reason_and_ends(text, said):
    """An exception without an end would never be reconsidered."""
    ids, wrong = audit.accepted(text, TODAY)
    assert ids == []
    assert said in wrong[0]


def test_a_valid_exception_is_passed_to_the_audit():
    """Otherwise the audit could not be used while a package has no fixed version."""
    ids, wrong = audit.accepted(_entry("2027-03-01"), TODAY)
    assert (ids, wrong) == (["PYSEC-1"], [])
    assert audit.command(Path("x.lock"), ids, "osv")[-2:] == ["--ignore-vuln", "PYSEC-1"]


def test_the_committed_exceptions_are_valid():
    """The committed file."""
    _, wrong = audit.accepted((FOLDER / "accepted.toml").read_text(), date.today())  # noqa: DTZ011
    assert wrong == []


WELL = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-2", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (json.dumps({"dependencies": [WELL]}), 0, "no known vulnerability"),
        (json.dumps({"dependencies": [WELL, BAD]}), 1, "b 2: PYSEC-2, mended in 3"),
        (json.dumps({"dependencies": [WELL, UNKNOWN]}), 4, "NOT DONE"),
        ("", 4, "NOT DONE"),
    ],
    ids=["clean", "found", "unknown to the database", "no answer"],
)
def test_the_audit_distinguishes_clean_from_unanswered(monkeypatch, capsys, answer, code, said):
    """Behind a proxy pip-audit exits with 0 and has audited nothing, which must not count as clean."""

    def run(command, **options):
        return subprocess.CompletedProcess(command, 0, answer, "no route to host\n")

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main([]) == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", sbom.BILLS)
def test_the_bill_names_every_locked_package_with_its_hashes(name):
    """The file is the same each time it is written, so a build can be compared with it."""
    lock = sbom.BILLS[name].read_text()
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^ ;\\]+)", lock, re.MULTILINE)
    text = sbom.bill(name, lock)
    found = json.loads(text)["components"]
    assert sorted((one["name"], one["version"]) for one in found) == sorted(set(pins))
    assert sum(len(one["hashes"]) for one in found) == lock.count("--hash=sha256:")
    assert sbom.bill(name, lock) == text
