"""What the claims of a person grant: a role in some tenants."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from streams.connect.access.tokens import AccessToken, Role
from streams.connect.oidc.configuration import ClaimGrant, OidcConfiguration
from streams.connect.oidc.id_token import Claims
from streams.core.words.naming import NAME_CHARS_MAX

TENANTS_MAX = 1000
"""of one person; further ones are left out"""


def granted(claims: Claims, grants: Iterable[ClaimGrant]) -> dict[str | None, Role]:
    """The highest role by tenant; the tenant None is every tenant."""
    found: dict[str | None, Role] = {}
    # First what tenants beyond the bound must not push out.
    for grant in sorted(grants, key=lambda one: not one.every_tenant):
        if not _applies(claims, grant):
            continue
        role = Role.named(grant.role)
        for tenant in _tenants(claims, grant):
            if tenant in found or len(found) < TENANTS_MAX:
                found[tenant] = max(role, found.get(tenant, role))
    return found


def person(
    claims: Claims, wanted: OidcConfiguration, tenant: str | None, role: Role, now_ms: int
) -> AccessToken:
    """What a session of this person holds, in place of a token. It opens nothing by itself: it has
    no secret. The id is the same at each sign-in, and differs by tenant."""
    subject: str = claims["sub"]
    named = next(_strings(_at(claims, wanted.name_claim)), subject)
    parts = [wanted.issuer, subject, "" if tenant is None else f"tenant {tenant}"]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return AccessToken(
        id=f"oidc-{digest[:16]}",
        tenant=tenant,
        role=role.name.lower(),
        sha256="",
        created_ms=now_ms,
        name=named[:NAME_CHARS_MAX],
    )


def _applies(claims: Claims, grant: ClaimGrant) -> bool:
    found = _strings(_at(claims, grant.claim))
    return any(not grant.value or one == grant.value for one in found)


def _tenants(claims: Claims, grant: ClaimGrant) -> Iterator[str | None]:
    if grant.every_tenant:
        yield None
    elif grant.tenant:
        yield grant.tenant
    else:
        for one in _strings(_at(claims, grant.tenant_claim)):
            if len(one) <= NAME_CHARS_MAX:
                yield one


def _at(claims: Claims, path: str) -> Any:
    """The claim of this name, else the value at the path: names of claims may hold dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def _strings(value: Any) -> Iterator[str]:
    """Of a string or a list; anything else holds none. An empty one names nothing."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one:
            yield one
