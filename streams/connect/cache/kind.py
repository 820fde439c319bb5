"""The caches there are, declared once: processes and administrators mean the same by a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CacheKind:
    """``versioned``: loads and changes name the source's own version of a value, below 2**53;
    otherwise Redis stamps them."""

    name: str
    versioned: bool
    authorises: bool = False
    """something is allowed by such a value: an entry without a seal is not even asked for"""


POLICY: Final = CacheKind("policy", versioned=False, authorises=True)
"""names: length of the tenant, ``:``, tenant, ``/``, policy"""
MODEL: Final = CacheKind("model", versioned=True)
"""names: length of the tenant, ``:``, tenant, ``/``, model"""
SERIES: Final = CacheKind("series", versioned=False)
"""what the query API read of a tenant's rows: length of the tenant, ``:``, tenant, ``/``, question"""
CATALOG: Final = CacheKind("catalog", versioned=False)
"""which tenants, models and metrics there are, named as `SERIES`"""
OVERVIEW: Final = CacheKind("overview", versioned=False)
"""the state of the whole, as a tenant sees it, named as `SERIES`"""
LETTERS: Final = CacheKind("letters", versioned=False)
"""what the query API read of dead letters, named as `SERIES`"""
KEPT: Final = CacheKind("kept", versioned=False)
"""the last good answer to each question about rows, for when its source is away"""

KINDS: Final = {
    kind.name: kind for kind in (POLICY, MODEL, SERIES, CATALOG, OVERVIEW, LETTERS, KEPT)
}


def owned(tenant_id: str, name: str) -> str:
    """A tenant's name in a cache; two tenants cannot meet in it, whatever they are called."""
    return f"{len(tenant_id)}:{tenant_id}/{name}"
