"""Where policies come from, and the form of it that is a file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from streams.errors import UsageError
from streams.policy.policy import Policy


class PolicySource(Protocol):
    """What `PolicyValidator` asks behind its cache."""

    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        """None: there is no such policy. Raises `PolicyServiceUnavailable`, `RetriesExhausted`."""
        ...

    async def close(self) -> None: ...


class PolicyFile(msgspec.Struct, frozen=True):
    """The content of a policy file: ``{"policies": [...]}``."""

    policies: list[Policy]


class LocalPolicies:
    """Policies of a JSON file, read once, at the start. Without a file there are none."""

    def __init__(self, path: str) -> None:
        """`UsageError` for a file that cannot be read or is not one of policies."""
        policies = _read(path) if path else []
        self._policies = {(p.tenant_id, p.policy_id): p for p in policies}

    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        return self._policies.get((tenant_id, policy_id))

    async def close(self) -> None:
        """Nothing is held open."""


def _read(path: str) -> list[Policy]:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=PolicyFile).policies
    except OSError as error:
        why = error.strerror or str(error)
    except msgspec.DecodeError as error:
        why = str(error)
    raise UsageError(f"DIA_POLICY_FILE={path} cannot be used: {why}. Mend or unset it.")
