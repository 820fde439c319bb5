"""Proxies of the environment (HTTP_PROXY and its kin) are for other people's servers. Loopback and the
cluster's own services are always reached directly."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DIRECT: Final[Mapping[str, None]] = MappingProxyType(
    {"http://": None, "https://": None, "all://": None}
)
"""``mounts`` of an `httpx.AsyncClient` that uses no proxy. ``trust_env=False`` would also ignore
SSL_CERT_FILE."""
