"""File modes: other users of the machine can read no file of dia."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys

import pytest
import trustme

from streams.connect.access.authentication import Authenticator
from streams.connect.access.listening import Listening
from streams.connect.access.refusals import TokensUnreadable
from streams.connect.access.tokens import Role, TokenFile
from streams.core.errors import UsageError
from streams.core.process.file_modes import private_folder, refuse_loose
from streams.core.settings import secret_file
from streams.core.settings.tls import TlsFiles


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_files_of_a_command(tmp_path):
    """State holds names and values of all tenants, and the secret of id fingerprints."""
    home = tmp_path / "home"
    subprocess.run(
        [sys.executable, "-m", "streams", "--home", str(home), "token", "create",
         "--tenant", "acme"],
        check=True, capture_output=True, umask=0,
    )  # fmt: skip
    written = [home, *home.rglob("*")]
    assert len(written) > 2
    assert {oct(_mode(path) & 0o077) for path in written} == {"0o0"}


def test_a_state_folder_that_others_could_read_is_restricted(tmp_path):
    """An older version or an operator may have made the folder."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    private_folder(folder)
    assert _mode(folder) == 0o700
    private_folder(tmp_path / "a" / "b")
    assert _mode(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_a_password_that_others_may_read_is_refused(tmp_path, mode):
    """Like ssh with a key: the message names the file and the remedy."""
    path = tmp_path / "password"
    path.write_text("hunter2")
    path.chmod(mode)
    with pytest.raises(UsageError, match=rf"DIA_X_FILE=.*mode {mode:04o}.*chmod 600"):
        secret_file.read("DIA_X_FILE", str(path))
    path.chmod(0o400)
    assert secret_file.read("DIA_X_FILE", str(path)) == "hunter2"


@pytest.mark.parametrize(("mode", "refused"), [(0o444, False), (0o644, False), (0o666, True)])
def test_a_file_of_another_owner_may_be_readable_but_not_writable(
    tmp_path, monkeypatch, mode, refused
):
    """An orchestrator mounts secrets with owner root, and the process cannot change their mode."""
    path = tmp_path / "password"
    path.write_text("hunter2")
    path.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if refused:
        with pytest.raises(UsageError, match="chmod"):
            refuse_loose("DIA_X_FILE", path)
    else:
        refuse_loose("DIA_X_FILE", path)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    """A reader of the key can impersonate the server."""
    made = trustme.CA().issue_cert("localhost")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made.private_key_pem.write_to_path(str(key))
    made.cert_chain_pems[0].write_to_path(str(cert))
    key.chmod(0o644)
    listening = Listening(host="127.0.0.1", port=0, cert=cert, key=key)
    files = TlsFiles(variables="DIA_KAFKA", certificate=str(cert), key=str(key))
    with pytest.raises(UsageError, match=r"--tls-key=.*mode 0644"):
        _ = listening.tls
    with pytest.raises(UsageError, match=r"DIA_KAFKA_KEY_FILE=.*mode 0644"):
        files.context()
    key.chmod(0o600)
    assert isinstance(listening.tls, ssl.SSLContext)
    assert isinstance(files.context(), ssl.SSLContext)


def test_a_token_file_that_others_may_change_refuses_every_request(tmp_path):
    """A writer of the file can make an admin token."""
    file = TokenFile.of(tmp_path)
    _, text = file.create(tenant="acme", role=Role.READ, now_ms=0)
    assert Authenticator(file).token_of(f"Bearer {text}", 0).tenant == "acme"
    file.path.chmod(0o644)
    with pytest.raises(TokensUnreadable):
        Authenticator(file).token_of(f"Bearer {text}", 0)
