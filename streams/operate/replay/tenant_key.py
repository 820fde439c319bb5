"""The built-in transform ``tenant-as-key``: of records that a producer keyed by something else."""

from __future__ import annotations

import json

from streams.operate.dlq.letter import Original


def tenant_as_key(record: Original) -> Original | None:
    """The record under the tenant that its event names; None for what names none."""
    try:
        tenant = json.loads(record.value or b"")["tenant_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return record._replace(key=tenant.encode()) if isinstance(tenant, str) else None
