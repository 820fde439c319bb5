"""ClickHouse behind TLS: certificate authorities, host names and client certificates."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading

import pytest
import trustme

from streams.connect.sinks.replica import Replica
from streams.core.errors import ShardUnavailable, UsageError
from streams.core.settings import TlsFiles


class TlsProxy:
    """Terminates TLS on a loopback port and forwards the bytes, in its own thread."""

    def __init__(self, context: ssl.SSLContext, behind: int) -> None:
        self._context = context
        self._behind = behind
        self._opened = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        assert self._opened.wait(10)

    async def _serve(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._opened.set()
        await self._closing.wait()
        server.close()

    async def _pass_on(self, reader, writer):
        back, forth = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(_pour(reader, forth), _pour(back, writer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)


async def _pour(source, target):
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@pytest.fixture
def authority(tmp_path):
    """A certificate authority that no other test trusts; its certificate is tmp_path/ca.pem."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def door(front, authority):
    """The session's server behind TLS; it requires a certificate of the same authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    opened = TlsProxy(context, front.port)
    yield opened
    opened.close()


@pytest.fixture
def files(authority, tmp_path):
    """The certificate files of a client."""
    own = authority.issue_cert("worker.example")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    return TlsFiles(
        variables="DIA_CLICKHOUSE",
        ca=str(tmp_path / "ca.pem"),
        certificate=str(tmp_path / "client.pem"),
    )


def _replica(door, front, tls, host="127.0.0.1"):
    return Replica(
        f"https://{host}:{door.port}",
        user="default",
        password=front.password,
        database="default",
        timeout_s=10,
        pool_size=1,
        tls=tls,
    )


def test_a_server_behind_tls_is_reached(door, front, files):
    """With a password inside TLS and a client certificate, as for a shard on another machine."""
    replica = _replica(door, front, files)
    assert list(replica.query("SELECT 1 + 1")[1][0]) == [2]
    replica.close()


def test_an_unknown_authority_or_another_host_name_is_refused(door, front, files):
    """Encryption without authentication of the server does not protect."""
    stranger = TlsFiles(variables="DIA_CLICKHOUSE", certificate=files.certificate)
    for tls, host in ((stranger, "127.0.0.1"), (files, "localhost")):
        replica = _replica(door, front, tls, host)
        with pytest.raises(ShardUnavailable, match="certificate"):
            replica.query("SELECT 1")
        replica.close()


def test_a_client_without_its_certificate_is_refused(door, front, files):
    """The server requires a certificate; the setting names it."""
    replica = _replica(door, front, TlsFiles(variables="DIA_CLICKHOUSE", ca=files.ca))
    with pytest.raises(ShardUnavailable):
        replica.query("SELECT 1")
    replica.close()


def test_a_key_without_its_certificate_is_refused_at_startup():
    """The client library would ignore it silently."""
    with pytest.raises(UsageError, match="DIA_CLICKHOUSE_CERT_FILE"):
        _replica_of_key()


def _replica_of_key():
    return Replica(
        "https://127.0.0.1:1",
        user="default",
        password="",
        database="default",
        timeout_s=1,
        pool_size=1,
        tls=TlsFiles(variables="DIA_CLICKHOUSE", key="key.pem"),
    )
