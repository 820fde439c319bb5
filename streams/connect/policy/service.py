"""The policy service over HTTP: ``GET /v1/policies/{tenant}/{policy}`` returns a `Policy` as JSON.

200 and 404 are answers, all else is a failure. The breaker counts it only if the service answers
for no other policy either: neither for one requested since, nor for `PROBE`."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx
import msgspec

from streams.connect.policy.policy import Policy
from streams.core.clock import Clock
from streams.core.errors import (
    BreakerOpen,
    PolicyServiceFailed,
    PolicyServiceUnavailable,
    TransientError,
)
from streams.core.process.proxies import DIRECT
from streams.core.records.bad_records import RetriesExhausted
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.resilience.retry import Retrier, RetryPolicy
from streams.core.settings import Settings, secret_file
from streams.core.telemetry.metrics import Metrics

PROBE = ("-", "-")
"""404 counts as an answer"""
BREAKER = BreakerPolicy(failures=5, open_s=30.0, successes=3, consecutive=True)
_CONNECTIONS = 16

_decode = msgspec.json.Decoder(Policy).decode


class _Away(TransientError):  # noqa: N818 - as its siblings in streams/core/errors.py
    """Neither the policy nor the probe was answered."""

    code = PolicyServiceFailed.code


class PolicyService:
    """It reads ``token`` for each request, so a rotated token takes effect."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        metrics: Metrics,
        *,
        timeout_s: float,
        token: Callable[[], str] = str,
        retry: RetryPolicy | None = None,
        seed: int = 0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.breaker = Breaker("policy_service", BREAKER, (_Away,), clock, metrics)
        self._token = token
        self._retrier = Retrier(retry if retry is not None else RetryPolicy(), clock, seed)
        self._answered = 0
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            transport=transport,
            mounts=DIRECT,
        )

    @classmethod
    def from_settings(cls, settings: Settings, clock: Clock, metrics: Metrics) -> PolicyService:
        return cls(
            settings.policy_url,
            clock,
            metrics,
            timeout_s=settings.policy_timeout_s,
            token=lambda: secret_file.read("DIA_POLICY_TOKEN_FILE", settings.policy_token_file),
        )

    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        """None: there is no such policy. Raises `PolicyServiceUnavailable` while the service is
        unavailable, and `RetriesExhausted` when it answers but fails on this policy."""
        try:
            return await self._retrier.run(lambda: self._attempt(tenant_id, policy_id))
        except BreakerOpen as error:
            raise PolicyServiceUnavailable(str(error)) from error
        except RetriesExhausted as error:
            if isinstance(error.__cause__, _Away):
                raise PolicyServiceUnavailable(str(error)) from error
            raise

    async def answers(self) -> bool:
        """Whether the service answered a probe and the breaker is closed."""
        try:
            await self.fetch(*PROBE)
        except (PolicyServiceUnavailable, RetriesExhausted):
            return False
        return self.breaker.state == "closed"

    async def _attempt(self, tenant_id: str, policy_id: str) -> Policy | None:
        """Raises `PolicyServiceFailed`, `BreakerOpen`, and `_Away`, which the breaker counts."""
        answer = await self.breaker.call(lambda: self._asked(tenant_id, policy_id))
        if isinstance(answer, PolicyServiceFailed):
            raise answer
        return answer

    async def _asked(self, tenant_id: str, policy_id: str) -> Policy | PolicyServiceFailed | None:
        answered = self._answered
        try:
            return await self._ask(tenant_id, policy_id)
        except PolicyServiceFailed as error:
            if self._answered == answered and not await self._probed():
                raise _Away(str(error)) from error
            return error

    async def _probed(self) -> bool:
        try:
            await self._ask(*PROBE)
        except PolicyServiceFailed:
            return False
        return True

    async def _ask(self, tenant_id: str, policy_id: str) -> Policy | None:
        path = f"/v1/policies/{quote(tenant_id, safe='')}/{quote(policy_id, safe='')}"
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = await self._client.get(path, headers=headers)
        except httpx.HTTPError as error:
            raise PolicyServiceFailed(
                f"the policy service does not answer ({type(error).__name__}: {error})"
            ) from error
        policy = self._answer(response, tenant_id, policy_id)
        self._answered += 1
        return policy

    def _answer(self, response: httpx.Response, tenant_id: str, policy_id: str) -> Policy | None:
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code != httpx.codes.OK:
            raise PolicyServiceFailed(f"the policy service answered {response.status_code}")
        try:
            policy = _decode(response.content)
        except msgspec.DecodeError as error:
            raise PolicyServiceFailed(
                f"the policy service sent an invalid policy: {error}"
            ) from error
        if (policy.tenant_id, policy.policy_id) != (tenant_id, policy_id):
            raise PolicyServiceFailed(
                "the policy service returned another policy than the requested one"
            )
        return policy

    async def close(self) -> None:
        await self._client.aclose()
