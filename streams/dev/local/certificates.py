"""Makes downloads trust the system's certificate authorities, as pip and curl do. The jar
resolver's HTTP library has its own list, which fails behind a company's proxy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""the library's variables, which a user may have set"""

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Arch
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),  # Alpine
)


@contextmanager
def system_certificates(bundles: Sequence[Path] = SYSTEM_BUNDLES) -> Iterator[None]:
    """Unless the environment says otherwise. Sets an environment variable: the library has no
    option."""
    bundle = next((path for path in bundles if path.is_file()), None)
    if bundle is None or any(os.environ.get(name) for name in VARIABLES):
        yield
        return
    os.environ[VARIABLES[0]] = str(bundle)
    try:
        yield
    finally:
        del os.environ[VARIABLES[0]]
