"""Why a request for a simulation ends without one: a code each, which its result names."""

from __future__ import annotations

from streams.core.errors import JobRefused


class UnknownScenario(JobRefused):
    code = "unknown_scenario"


class InvalidParameters(JobRefused):
    code = "invalid_parameters"


class SimulationTimeout(JobRefused):
    """Its process was killed at the scenario's ``timeout_s``."""

    code = "simulation_timeout"


class SimulationMemory(JobRefused):
    """It wanted more memory than a pool process may have."""

    code = "simulation_memory"


class SimulationFailed(JobRefused):
    """The scenario's own code raised, or every attempt ended with its process."""

    code = "simulation_failed"


class SimulationCancelled(JobRefused):
    code = "cancelled"


class PolicyRejected(JobRefused):
    """The policy service does not allow what was asked."""

    code = "policy_rejected"
