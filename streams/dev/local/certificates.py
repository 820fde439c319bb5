"""Which certificate authorities a download trusts: the system's, like pip and curl.

The HTTP library under the jar resolver knows only a list of its own; behind a company's proxy,
whose authority is in the system's store, nothing could be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Where the library looks first; a user who set one of them has decided."""

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Arch
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),  # Alpine
)


@contextmanager
def system_certificates(bundles: Sequence[Path] = SYSTEM_BUNDLES) -> Iterator[None]:
    """Trust the system's store while the block runs, unless the environment says otherwise.

    By an environment variable, for want of another way in: threads see it, children inherit it.
    """
    bundle = next((path for path in bundles if path.is_file()), None)
    if bundle is None or any(os.environ.get(name) for name in VARIABLES):
        yield
        return
    os.environ[VARIABLES[0]] = str(bundle)
    try:
        yield
    finally:
        del os.environ[VARIABLES[0]]
