"""Listen addresses: tokens never cross a network in clear text by mistake."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from streams.core.errors import RefusedBySafety, UsageError
from streams.core.process.file_modes import refuse_loose


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where TLS ends: here with ``cert`` and ``key``, or at a proxy."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None
    behind_tls: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether clients use TLS, here or at a proxy."""
        return self.behind_tls or (self.cert is not None and self.key is not None)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Raises `UsageError` for files that do not fit."""
        if self.cert is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever OpenSSL's own file allows
        try:
            refuse_loose("--tls-key", self.key)
            # with an empty password OpenSSL never prompts on the terminal
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--tls-cert {self.cert} and --tls-key {self.key} cannot be used: {error}. Name a "
                "PEM chain and its unencrypted key."
            ) from error
        return context

    def require_safe(self) -> None:
        tls = self.cert is not None and self.key is not None
        require_safe(self.host, tls=tls, behind_tls=self.behind_tls)


def require_safe(host: str, *, tls: bool, behind_tls: bool) -> None:
    """Accept loopback addresses; elsewhere require TLS, here or at a proxy. Raises
    `RefusedBySafety`."""
    if is_loopback(host) or tls or behind_tls:
        return
    raise RefusedBySafety(
        f"listening on {host} would send tokens in clear text. Give --tls-cert and --tls-key, or "
        "say --behind-tls if a proxy in front of it terminates TLS and nothing else reaches it."
    )


def is_loopback(host: str) -> bool:
    """Names other than localhost may resolve anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
