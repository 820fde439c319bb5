"""Programs of the bench that end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from streams.core.errors import CommandError


async def output_of(
    what: str,
    *command: str,
    environ: Mapping[str, str] | None = None,
    limit_s: float | None = None,
    stderr: int | None = None,
) -> bytes:
    """Its stdout. Raises TimeoutError, and `CommandError` naming ``what`` if it fails."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env=None if environ is None else dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise CommandError(f"{what} failed with exit code {child.returncode}.")
    return output
