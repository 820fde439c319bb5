"""Errors that end a simulation request; its result names the code."""

from __future__ import annotations

from streams.core.errors import JobRefused


class UnknownScenario(JobRefused):
    """No installed scenario has this name."""

    code = "unknown_scenario"


class InvalidParameters(JobRefused):
    """The scenario refuses the parameters; the message names the first one."""

    code = "invalid_parameters"


class SimulationTimeout(JobRefused):
    """The process was killed at the scenario's ``timeout_s``."""

    code = "simulation_timeout"


class SimulationMemory(JobRefused):
    """The process exceeded its memory limit."""

    code = "simulation_memory"


class SimulationFailed(JobRefused):
    """The scenario's code raised, or every attempt lost its process."""

    code = "simulation_failed"


class SimulationCancelled(JobRefused):
    """A cancellation of the request came before its result."""

    code = "cancelled"


class PolicyRejected(JobRefused):
    """The policy service forbids the request."""

    code = "policy_rejected"
