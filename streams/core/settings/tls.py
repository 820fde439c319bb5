"""TLS to one service: trusted authority and client certificate. Host names are always checked; no
setting trusts every certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from streams.core.errors import UsageError
from streams.core.process.file_modes import refuse_loose


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files, "" for none. ``ca`` "" trusts the system's authorities. ``variables`` is
    the prefix of their settings, for messages."""

    variables: str
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """A client's context. Raises `UsageError` when a file is missing, not PEM, or does not
        match."""
        self.check()
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever OpenSSL's own file allows
            if self.key:
                refuse_loose(f"{self.variables}_KEY_FILE", Path(self.key))
            if self.certificate:
                # A given password prevents a prompt on the terminal.
                context.load_cert_chain(self.certificate, self.key or None, password="")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the certificates of {self.variables}_CA_FILE={self.ca}, "
                f"{self.variables}_CERT_FILE={self.certificate} and "
                f"{self.variables}_KEY_FILE={self.key} cannot be used: {error}. "
                "Name readable PEM files, an unencrypted key that fits its certificate."
            ) from error
        return context

    def check(self) -> None:
        """Raises `UsageError` for a key without its certificate, which would be ignored."""
        if self.key and not self.certificate:
            raise UsageError(
                f"{self.variables}_KEY_FILE is set and {self.variables}_CERT_FILE is not. "
                "Set both, or neither."
            )
