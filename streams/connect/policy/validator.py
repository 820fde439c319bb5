"""`PolicyValidator.check`: the check of an agent before it runs a simulation."""

from __future__ import annotations

import msgspec

from streams.connect.cache.cache import Cache, SharedLayer, Versioned
from streams.connect.cache.kind import POLICY, owned
from streams.connect.policy.policy import Policy, PolicyRequest, refusal
from streams.connect.policy.source import LocalPolicies, PolicySource
from streams.core.clock import Clock
from streams.core.job_refusals import PolicyRejected
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics


class PolicyValidator:
    def __init__(self, source: PolicySource, cache: Cache[Policy]) -> None:
        self._source = source
        self._cache = cache

    @classmethod
    def from_settings(
        cls, settings: Settings, clock: Clock, metrics: Metrics, layer: SharedLayer | None
    ) -> PolicyValidator:
        """From the service of DIA_POLICY_URL, else the file of DIA_POLICY_FILE. With neither, every
        request that names a policy is rejected. Raises `UsageError`."""
        source: PolicySource
        if settings.policy_url:
            # An app without a policy service does not load the HTTP client.
            from streams.connect.policy.service import PolicyService

            source = PolicyService.from_settings(settings, clock, metrics)
        else:
            source = LocalPolicies(settings.policy_file)
        return cls(source, policy_cache(clock, metrics, layer))

    async def check(self, question: PolicyRequest) -> None:
        """Raises `PolicyRejected` (forbidden, or no such policy), `PolicyServiceUnavailable` (retry
        later) and `RetriesExhausted` (the service fails on this one policy)."""
        tenant_id, policy_id = question.tenant_id, question.policy_id

        async def load() -> Versioned[Policy]:
            return Versioned(await self._source.fetch(tenant_id, policy_id))

        policy = await self._cache.get(owned(tenant_id, policy_id), load)
        if policy is None:
            raise PolicyRejected(f"tenant {tenant_id!r} has no policy {policy_id!r}")
        if (why := refusal(policy, question)) is not None:
            raise PolicyRejected(why)

    async def close(self) -> None:
        await self._cache.close()
        await self._source.close()


def policy_cache(clock: Clock, metrics: Metrics, layer: SharedLayer | None) -> Cache[Policy]:
    return Cache(
        POLICY,
        encode=msgspec.msgpack.Encoder().encode,
        decode=msgspec.msgpack.Decoder(Policy).decode,
        clock=clock,
        metrics=metrics,
        layer=layer,
    )
