"""Tokens may be sent in clear text over loopback only."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trustme

from streams.connect.access.listening import Listening, is_loopback, require_safe
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
    """All-interfaces addresses, private networks and host names count as the network."""
    assert is_loopback(host) is loopback
    if loopback:
        require_safe(host, tls=False, behind_tls=False)
    else:
        with pytest.raises(RefusedBySafety, match="--behind-tls"):
            require_safe(host, tls=False, behind_tls=False)


@pytest.mark.parametrize(("tls", "behind"), [(True, False), (False, True)])
def test_encryption_makes_any_address_safe(tls, behind):
    """The configuration must state that TLS is used, here or in a proxy."""
    require_safe("10.0.0.7", tls=tls, behind_tls=behind)


def shake_hands(server, client):
    """A TLS handshake in memory. Raises `ssl.SSLError`."""
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(sent, received, server_side=True),
        client.wrap_bio(received, sent, server_hostname="127.0.0.1"),
    ]
    while ends:
        for end in reversed(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_a_client_of_an_old_tls_is_refused(tmp_path, version):
    """TLS 1.0 and 1.1 are broken (RFC 8996)."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    server = Listening(host="127.0.0.1", port=0, cert=cert, key=key).tls
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.set_ciphers(
        "DEFAULT:@SECLEVEL=0"
    )  # > otherwise the client library itself refuses the old version
    with (
        pytest.warns(DeprecationWarning, match="TLSv1")
        if version < "TLSv1_2"
        else contextlib.nullcontext()
    ):
        client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    if version >= "TLSv1_2":
        shake_hands(server, client)
    else:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
            shake_hands(server, client)
