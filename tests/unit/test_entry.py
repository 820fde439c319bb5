"""The environment of a command: closed streams, other encodings, no home, an early Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams import cli

_RUN = [sys.executable, "-m", "streams"]


def _dia(
    *arguments: str, closed: tuple[int, ...] = (), **environ: str
) -> subprocess.CompletedProcess:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **environ}
    shut = " ".join(f"{number}>&-" for number in closed)
    command = ["/bin/sh", "-c", f'exec "$@" {shut}', "sh", *_RUN, *arguments]
    return subprocess.run(command, env=kept, capture_output=True, timeout=200, check=False)


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_closed_streams_do_not_fail_a_command(closed, tmp_path):
    """Cron and daemons close the standard streams; the command must still succeed."""
    done = _dia("--home", str(tmp_path), "config", "show", closed=closed)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_a_user_without_a_home_is_told_which_setting_to_give():
    """For the uid of a container without an entry in the password file."""
    code = (
        "import sys, pathlib, streams.cli\n"
        "def home(): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = home\n"
        "sys.exit(streams.cli.main(['config', 'show']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "DIA_HOME" in done.stderr


def test_characters_outside_the_encoding_are_escaped(tmp_path):
    """A home with an umlaut on an ASCII terminal must not end the command."""
    home = tmp_path / "grün"
    done = _dia("--home", str(home), "config", "show", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert rb"gr\xfcn" in done.stdout
    done = _dia("--home", str(home), "--json", "config", "show", PYTHONIOENCODING="ascii")
    assert rb"gr\u00fcn" in done.stdout


def test_an_argument_that_is_no_text_is_a_usage_error(capsys):
    """A terminal of another encoding sends such bytes; "surrogates not allowed" helps no user."""
    given = os.fsdecode(b"SELECT 'caf\xe9'")
    command = SimpleNamespace(main=lambda args, prog_name: args[1].encode())
    assert cli.run(command, ["query", given]) == 2
    assert f"argument 2, {given!a}, has bytes that are no text" in capsys.readouterr().err


def test_commands_run_without_assertions(tmp_path):
    """python -O removes assertions, so no command may rely on one."""
    done = _dia("--home", str(tmp_path), "config", "show", PYTHONOPTIMIZE="2")
    assert done.returncode == 0


def test_an_unusable_home_is_named(tmp_path):
    """The user corrects another user's folder, or one below a file."""
    (tmp_path / "file").touch()
    done = _dia("--home", str(tmp_path / "file"), "token", "create", "--role", "admin")
    assert done.returncode == 4
    assert b"--home" in done.stderr
    assert b"unexpected" not in done.stderr


def test_a_closed_pipe_ends_the_command_quietly(tmp_path):
    """`dia ... | head -1` is no failure; the exit code lets scripts recognise it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*_RUN, "--home", str(tmp_path), "config", "show"],
        stdout=writing, stderr=subprocess.PIPE, timeout=200, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_behind_stdout_is_an_error(tmp_path):
    """The output that a script stored is incomplete."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*_RUN, "--home", str(tmp_path), "config", "show"],
            stdout=full, stderr=subprocess.PIPE, timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert b"the output, or a file, cannot be written: No space left on device" in done.stderr


def test_the_package_imports_no_module():
    """Ctrl-C meanwhile would print a traceback: no handler can be set before."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); import __future__\n"
        "before = set(sys.modules); import streams; print(set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{'streams'}\n", "")


def test_an_interrupt_before_the_handler_exits_without_output():
    """Ctrl-C while the module is imported that sets the handler."""
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'signal': raise KeyboardInterrupt\n"
        "sys.modules.pop('signal', None)\n"
        "sys.meta_path.insert(0, Interrupted)\n"
        "import streams.__main__"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")


def test_an_interrupt_during_imports_exits_without_output():
    """Ctrl-C in the first 0.1 s."""
    code = (
        "import os, signal, sys, types\n"
        "import streams.__main__\n"
        "class Typer(types.ModuleType):\n"
        "    def __getattr__(self, name): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['typer'] = Typer('typer')\n"
        "sys.exit(streams.__main__.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
