"""DIA_JOB_RETRIES: retries of jobs by error class.

    process_died=2x0.5,shard_unavailable=6x2

is ``CODE=ATTEMPTSxPAUSE_S``, comma-separated: total attempts, and seconds before the second,
doubling up to the queue's longest pause. Overrides the queue of a scenario.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from streams.core.errors import Disposition, TransientError

ATTEMPTS_MAX: Final = 10
PAUSE_MAX_S: Final = 60.0
_ONE = re.compile(r"(?P<code>[a-z_]+)=(?P<attempts>\d{1,2})x(?P<pause>\d+(?:\.\d+)?)")


class JobRetry(NamedTuple):
    """``attempts`` in all; ``pause_s`` before the second."""

    attempts: int
    pause_s: float


def job_retries(setting: str) -> Mapping[str, JobRetry]:
    """By error code. `ValueError` explains an invalid setting."""
    known = {error.code for error in _kinds(TransientError) if _spends(error)}
    found: dict[str, JobRetry] = {}
    for one in filter(None, (part.strip() for part in setting.split(","))):
        match = _ONE.fullmatch(one)
        if match is None:
            raise ValueError(f"{one!r} is not CODE=ATTEMPTSxPAUSE_S, as process_died=2x0.5")
        retry = JobRetry(int(match["attempts"]), float(match["pause"]))
        if match["code"] not in known:
            raise ValueError(f"{match['code']!r} is not one of {', '.join(sorted(known))}")
        if not 1 <= retry.attempts <= ATTEMPTS_MAX or not 0 < retry.pause_s <= PAUSE_MAX_S:
            raise ValueError(
                f"{one!r} is out of range: 1 to {ATTEMPTS_MAX} attempts, a pause above 0 and up to "
                f"{PAUSE_MAX_S:g} s"
            )
        found[match["code"]] = retry
    return found


def _kinds(of: type[TransientError]) -> Iterator[type[TransientError]]:
    for kind in of.__subclasses__():
        if kind.__module__ == TransientError.__module__:
            yield kind
            yield from _kinds(kind)


def _spends(kind: type[TransientError]) -> bool:
    """An error of disposition PAUSE uses no attempt, so it cannot be set."""
    return kind.disposition is Disposition.RETRY
