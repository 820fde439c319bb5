"""Sources of policies, and the file form."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from streams.connect.policy.policy import Policy
from streams.core.errors import UsageError

log = structlog.get_logger(__name__)


class PolicySource(Protocol):
    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        """None: there is no such policy. Raises `PolicyServiceUnavailable`, `RetriesExhausted`."""
        ...

    async def close(self) -> None: ...


class PolicyFile(msgspec.Struct, frozen=True):
    """``{"policies": [...]}``."""

    policies: list[Policy]


class LocalPolicies:
    """Of a JSON file, read at the start and after each change; none without a file. If a changed
    file is unreadable, the last policies stay in force."""

    def __init__(self, path: str) -> None:
        """Raises `UsageError` for a file that cannot be read or holds no policies."""
        self._path = path
        self._seen = _stamp(path)
        self._policies = _by_name(_read(path)) if path else {}

    async def fetch(self, tenant_id: str, policy_id: str) -> Policy | None:
        # called on cache misses only
        if self._path and (stamp := _stamp(self._path)) != self._seen:
            self._seen = stamp
            try:
                self._policies = _by_name(_read(self._path))
            except UsageError as error:
                log.warning("policy_file_unusable", why=str(error))
        return self._policies.get((tenant_id, policy_id))

    async def close(self) -> None:
        """No effect: it holds no connection."""


def _by_name(policies: list[Policy]) -> dict[tuple[str, str], Policy]:
    return {(policy.tenant_id, policy.policy_id): policy for policy in policies}


def _stamp(path: str) -> tuple[int, int] | None:
    """None without a file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: str) -> list[Policy]:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=PolicyFile).policies
    except OSError as error:
        why = error.strerror or str(error)
    except msgspec.DecodeError as error:
        why = str(error)
    raise UsageError(f"DIA_POLICY_FILE={path} cannot be used: {why}. Mend or unset it.")
