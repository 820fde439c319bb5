"""A request that the simulator can run."""

from __future__ import annotations

from schemas.simulation import SimulationRequest

REQUEST = SimulationRequest(
    request_id="r",
    idempotency_key="k",
    tenant_id="acme",
    model_id="m",
    policy_id=None,
    scenario="monte_carlo",
    priority=1,
    trials=10,
    parameters={"variables": {"x": {"kind": "uniform", "low": 0, "high": 1}}, "outcome": "x"},
    ts=1_700_000_000_000,
)
