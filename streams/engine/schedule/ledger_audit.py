"""The scheduled audit: runs `dia audit` in its own process, so that partitions do not wait for
it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from streams.core.errors import JobProcessFailed
from streams.core.process import tether
from streams.core.settings import PREFIX, Settings
from streams.engine.schedule.job import Findings, ScheduledJob

NAME = "audit"
TIMEOUT_S = 3600.0
_TETHER = str(Path(tether.__file__).resolve())
_SHOWN_MAX = 5
_REPORT_EXITS = (0, 1)
"""exit codes of a complete `dia audit`"""


def ledger_audit(settings: Settings) -> ScheduledJob:
    command = [sys.executable, "-m", "streams", "--json", "--quiet", "audit"]

    async def work(run: int) -> Findings:
        return read_report(*await output_of(command, environment(settings)))

    return ScheduledJob(
        name=NAME, interval_s=settings.audit_interval_s, timeout_s=TIMEOUT_S, work=work
    )


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with its settings from the command line."""
    chosen = {
        PREFIX + spec.name.upper(): str(value)
        for spec in fields(settings)
        if (value := getattr(settings, spec.name)) != spec.default
    }
    return {**os.environ, **chosen}


async def output_of(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of a process that ends with this one, or with its await."""
    guard = [sys.executable, "-I", "-S", _TETHER, str(os.getpid())]
    process = await asyncio.create_subprocess_exec(
        *guard,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environ),
    )
    try:
        said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said, complained


def read_report(code: int, said: bytes, complained: bytes) -> Findings:
    """Differences and red health findings of `dia audit --json`. Raises `JobProcessFailed` if it
    did not complete."""
    if code not in _REPORT_EXITS:
        raise JobProcessFailed(why("dia audit", code, complained))
    try:
        report: dict[str, Any] = msgspec.json.decode(said)
        findings = report["findings"]
        shown = [f"{f['check']}: {f['topic']}/{f['partition']}" for f in findings]
        shown += [
            f"health: {f['code']}: {f['subject']}"
            for f in report["health"]["findings"]
            if f["severity"] == "red"
        ]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise JobProcessFailed(why("dia audit", code, complained)) from error
    detail = {"differences": shown[:_SHOWN_MAX], "notes": len(report["notes"])}
    return Findings(len(shown), detail)


def why(command: str, code: int, complained: bytes) -> str:
    last = complained.decode(errors="replace").strip().rpartition("\n")[2]
    return f"`{command}` ended with exit code {code}: {last[:500]} Run `{command}` to see more."
