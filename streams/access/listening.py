"""Where an HTTP surface may listen: tokens never cross a network in clear text by oversight."""

from __future__ import annotations

import ipaddress

from streams.errors import RefusedBySafety


def require_safe(host: str, *, tls: bool, behind_tls: bool) -> None:
    """Loopback is free; elsewhere TLS, here or in front, has to be vouched for.

    Raises `RefusedBySafety` otherwise.
    """
    if is_loopback(host) or tls or behind_tls:
        return
    raise RefusedBySafety(
        f"listening on {host} would send tokens in clear text. Give --tls-cert and --tls-key, or "
        "say --behind-tls if a proxy in front of it terminates TLS and nothing else reaches it."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``; another name than localhost may be anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
