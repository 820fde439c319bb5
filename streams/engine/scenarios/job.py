"""One simulation as bytes for a pool process.

Errors of the request come back as code and message; the pool reports any other exception.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from streams.core.errors import JobRefused
from streams.core.job_refusals import UnknownScenario
from streams.engine.scenarios.history import History
from streams.engine.scenarios.parameters import parameters
from streams.engine.scenarios.scenario import Run, scenario_in

ENTRY = f"{__name__}:run"
"""the function that a pool process calls"""

SUMMARY_MAX_BYTES = 64 << 10
"""a summary is part of the state while its key lives, and of every repeat's result"""


class SimulationJob(msgspec.Struct, frozen=True, kw_only=True):
    """``seed`` is never negative. ``module`` defines the scenario."""

    module: str
    scenario: str
    parameters: dict[str, Any]
    trials: int
    seed: int
    history: History | None = None


class SimulationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Either a summary, or an error's code and message."""

    summary: dict[str, Any] = {}
    code: str = ""
    message: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_job = msgspec.msgpack.Decoder(SimulationJob).decode
decode_answer = msgspec.msgpack.Decoder(SimulationAnswer).decode


def run(job: bytes) -> bytes:
    """Run an encoded `SimulationJob`; an encoded `SimulationAnswer`."""
    return _encode(_answer(_decode_job(job)))


def _answer(job: SimulationJob) -> SimulationAnswer:
    try:
        chosen = scenario_in(job.module, job.scenario)
        if chosen is None:
            raise UnknownScenario(f"module {job.module} has no scenario {job.scenario!r}.")
        rng = np.random.Generator(np.random.SFC64(job.seed))
        given = parameters(chosen, job.parameters)
        summary = chosen.run(Run(given, job.trials, rng, job.history))
    except JobRefused as error:
        return SimulationAnswer(code=error.code, message=str(error))
    return SimulationAnswer(summary=summary)


def encode_job(job: SimulationJob) -> bytes:
    return _encode(job)
