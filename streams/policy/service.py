"""The policy service over HTTP: ``GET /v1/policies/{tenant}/{policy}`` gives a `Policy` as JSON.

200 is an answer, and so is 404. Everything else is a failure of the service: a refused connection,
a timeout, any other status, a body that is not the policy asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx
import msgspec

from streams.clock import Clock
from streams.errors import (
    BreakerOpen,
    PolicyServiceFailed,
    PolicyServiceUnavailable,
    RetriesExhausted,
)
from streams.policy.policy import Policy
from streams.proxies import DIRECT
from streams.resilience.breaker import Breaker, BreakerPolicy
from streams.resilience.retry import Retrier, RetryPolicy
from streams.settings import Settings, secret_file
from streams.telemetry.metrics import Metrics

BREAKER = BreakerPolicy(failures=5, open_s=30.0, successes=3, consecutive=True)
_CONNECTIONS = 16

_decode = msgspec.json.Decoder(Policy).decode


class PolicyService:
    """A `PolicySource`. ``token`` is read for each request: it may be renewed meanwhile."""

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
        self.breaker = Breaker("policy_service", BREAKER, (PolicyServiceFailed,), clock, metrics)
        self._clock = clock
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
        """The service of DIA_POLICY_URL."""
        return cls(
            settings.policy_url,
            clock,
            metrics,
            timeout_s=settings.policy_timeout_s,
            token=lambda: secret_file.read("DIA_POLICY_TOKEN_FILE", settings.policy_token_file),
        )

    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        """See `PolicySource`."""
        answered = self._answered
        try:
            return await self._retrier.run(
                lambda: self.breaker.call(lambda: self._ask(tenant_id, policy_id))
            )
        except BreakerOpen as error:
            raise PolicyServiceUnavailable(str(error)) from error
        except RetriesExhausted as error:
            if self._answered == answered:
                # It answered nobody meanwhile: it is away, and the question is not to blame.
                raise PolicyServiceUnavailable(str(error)) from error
            raise

    async def answers(self) -> bool:
        """Whether it can be relied on: it answered just now, and the breaker is closed."""
        try:
            await self.fetch("-", "-")
        except (PolicyServiceUnavailable, RetriesExhausted):
            return False
        return self.breaker.state == "closed"

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
            raise PolicyServiceFailed(f"the policy service sent no policy: {error}") from error
        if (policy.tenant_id, policy.policy_id) != (tenant_id, policy_id):
            raise PolicyServiceFailed("the policy service sent another policy than asked for")
        return policy

    async def close(self) -> None:
        await self._client.aclose()
