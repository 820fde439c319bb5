"""Bypasses the environment's proxies (HTTP_PROXY and others) for loopback and the cluster's own
services."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DIRECT: Final[Mapping[str, None]] = MappingProxyType(
    {"http://": None, "https://": None, "all://": None}
)
"""``mounts`` of an `httpx.AsyncClient` without a proxy. ``trust_env=False`` would also ignore
SSL_CERT_FILE."""
