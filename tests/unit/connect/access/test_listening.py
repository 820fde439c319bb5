"""Where tokens may be sent in clear text: nowhere but inside one machine."""

from __future__ import annotations

import pytest

from streams.connect.access.listening import is_loopback, require_safe
from streams.core.errors import RefusedBySafety


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_only_loopback_is_safe_by_itself(host, loopback):
    """All addresses at once, private networks and names of others are the network."""
    assert is_loopback(host) is loopback
    if loopback:
        require_safe(host, tls=False, behind_tls=False)
    else:
        with pytest.raises(RefusedBySafety, match="--behind-tls"):
            require_safe(host, tls=False, behind_tls=False)


@pytest.mark.parametrize(("tls", "behind"), [(True, False), (False, True)])
def test_encryption_makes_any_address_safe(tls, behind):
    """Here or in front, someone has to have said so."""
    require_safe("10.0.0.7", tls=tls, behind_tls=behind)
