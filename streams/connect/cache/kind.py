"""The declared caches; processes and administrators use the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CacheKind:
    """``versioned``: loads and changes carry the source's version, below 2**53; otherwise Redis
    generates stamps."""

    name: str
    versioned: bool
    authorises: bool = False
    """the value grants a permission, so entries without a seal are ignored"""


POLICY: Final = CacheKind("policy", versioned=False, authorises=True)
"""names: length of the tenant, ``:``, tenant, ``/``, policy"""
MODEL: Final = CacheKind("model", versioned=True)
"""names: length of the tenant, ``:``, tenant, ``/``, model"""
SERIES: Final = CacheKind("series", versioned=False)
"""responses from a tenant's rows: length of the tenant, ``:``, tenant, ``/``, query"""
CATALOG: Final = CacheKind("catalog", versioned=False)
"""tenants, models and metrics; named as `SERIES`"""
OVERVIEW: Final = CacheKind("overview", versioned=False)
"""the overview of a tenant; named as `SERIES`"""
LETTERS: Final = CacheKind("letters", versioned=False)
"""responses from dead letters; named as `SERIES`"""
KEPT: Final = CacheKind("kept", versioned=False)
"""the last good response to each query, for outages of its source"""

KINDS: Final = {
    kind.name: kind for kind in (POLICY, MODEL, SERIES, CATALOG, OVERVIEW, LETTERS, KEPT)
}


def owned(tenant_id: str, name: str) -> str:
    """Two tenants cannot meet in it, whatever they are called."""
    return f"{len(tenant_id)}:{tenant_id}/{name}"
