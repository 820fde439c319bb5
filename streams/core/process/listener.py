"""Listening sockets. A process binds its ports first, so that a taken port ends it at once."""

from __future__ import annotations

import socket

from streams.core.command_errors import AddressUnavailable


def bound(host: str, port: int, setting: str) -> socket.socket:
    """At the first address of ``host``; port 0 takes a free one. Raises `AddressUnavailable`, which
    names ``setting``."""
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        # Former connections in TIME_WAIT do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Without listen() a second process could bind the same port.
        listener.listen()
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AddressUnavailable(
            f"{host}:{port} cannot be opened: {reason}. Stop what listens there, or set {setting} "
            "to a free port of this machine, or to 0 to take any."
        ) from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Host and port; IPv6 in brackets."""
    host, port = listener.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port
