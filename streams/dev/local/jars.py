"""The broker's jars: fetched once per user, verified against the lock at every start. Each is verified
in its own folder, then moved into the cache atomically.

Downloads trust the system's certificate authorities, as pip and curl do: the resolver's HTTP
library has its own list, which fails behind a company's proxy."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from streams.core.errors import DependencyUnreachable, UsageError
from streams.core.process.file_lock import exclusive
from streams.dev.local.jar_lock import KAFKA_VERSION, Jar, read_lock

FETCHES_MAX = 6
"""Jars are small, so round trips dominate."""
CONNECT_TIMEOUT_S = 20
FETCH_TIMEOUT_S = 900.0
PROGRESS_INTERVAL_S = 1.0

Progress: TypeAlias = Callable[[str], None]
Fetch: TypeAlias = Callable[[Jar, Path], Path]
"""(jar, empty folder) -> the file fetched into it"""


def cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Shared by all local stacks; below ``home`` for a user without a folder."""
    if base := environ.get("XDG_CACHE_HOME"):
        cache = Path(base) / "dia"
    else:
        own = environ.get("HOME", "")
        cache = Path(own) / ".cache" / "dia" if own not in ("", "/") else home / "cache"
    return cache / f"kafka-{KAFKA_VERSION}"


def class_path(folder: Path, jars: Sequence[Jar]) -> str:
    """By name: other files are never loaded."""
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def missing(folder: Path, jars: Sequence[Jar]) -> list[Jar]:
    return [jar for jar in jars if not jar.matches(folder / jar.file_name)]


def ensure(
    folder: Path, progress: Progress, jars: Sequence[Jar] | None = None, fetch: Fetch | None = None
) -> str:
    """The class path, after fetching missing or damaged jars. Raises `DependencyUnreachable` when a
    jar is unavailable or differs from the lock, and `UsageError` for a folder that cannot be in a
    class path."""
    if os.pathsep in str(folder):
        msg = (
            f"Kafka's jars cannot be kept in {folder}: Java splits a class path at each "
            f"{os.pathsep!r}. Set XDG_CACHE_HOME to a folder without one, and run `dia up` again."
        )
        raise UsageError(msg)
    wanted = read_lock() if jars is None else jars
    if missing(folder, wanted):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = (
                f"Kafka's jars cannot be kept in {folder}: {error.strerror}. Set XDG_CACHE_HOME to "
                "a folder that can be written, and run `dia up` again."
            )
            raise DependencyUnreachable(msg) from error
        with _one_fetcher(folder, progress), system_certificates(), _some_home(folder):
            _fetch_all(folder, missing(folder, wanted), progress, fetch or fetch_from_maven)
    return class_path(folder, wanted)


@contextmanager
def _some_home(folder: Path) -> Iterator[None]:
    """The resolver fails without a HOME."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(folder)
        try:
            yield
        finally:
            del os.environ["HOME"]
    else:
        yield


@contextmanager
def _one_fetcher(folder: Path, progress: Progress) -> Iterator[None]:
    """Of two stacks that start together, the second waits."""

    def waiting() -> None:
        progress("another process is fetching Kafka's jars, waiting for it")

    try:
        with exclusive(folder / "fetch.lock", FETCH_TIMEOUT_S, waiting):
            yield
    except TimeoutError as error:
        msg = (
            f"another process has been fetching Kafka's jars into {folder} for "
            f"{FETCH_TIMEOUT_S / 60:.0f} minutes. End it and run `dia up` again."
        )
        raise DependencyUnreachable(msg) from error


def _fetch_all(folder: Path, jars: Sequence[Jar], progress: Progress, fetch: Fetch) -> None:
    if not jars:
        return
    total_bytes = sum(jar.size_bytes for jar in jars)
    progress(f"fetching Kafka {KAFKA_VERSION}: {len(jars)} jars, {total_bytes >> 20} MiB, once")
    for left_behind in folder.glob("arriving-*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="arriving-", dir=folder))
    pool = ThreadPoolExecutor(FETCHES_MAX, thread_name_prefix="jar")
    arrived_bytes = 0
    told_at = time.monotonic()
    try:
        pending = {pool.submit(_fetch_one, folder, staging, jar, fetch): jar for jar in jars}
        for count, done in enumerate(as_completed(pending), start=1):
            done.result()
            arrived_bytes += pending[done].size_bytes
            if count == len(jars) or time.monotonic() - told_at >= PROGRESS_INTERVAL_S:
                told_at = time.monotonic()
                progress(
                    f"fetching Kafka {KAFKA_VERSION}: {count} of {len(jars)} jars, "
                    f"{arrived_bytes >> 20} of {total_bytes >> 20} MiB"
                )
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)


def _fetch_one(folder: Path, staging: Path, jar: Jar, fetch: Fetch) -> None:
    arriving = staging / jar.file_name
    arriving.mkdir()
    try:
        path = fetch(jar, arriving)
    except Exception as error:  # the resolver raises its HTTP client's errors
        msg = (
            f"Kafka's jar {jar.coordinate} cannot be fetched: {_cause(error)}. Check the network, or name "
            f"a mirror under [repositories] in jgo.conf, and run `dia up` again: it goes on where "
            f"it stopped."
        )
        raise DependencyUnreachable(msg) from error
    if not jar.matches(path):
        msg = (
            f"Kafka's jar {jar.coordinate} does not have the sha256 of the lock file: the mirror "
            f"or the network changed it. Use another repository and run `dia up` again."
        )
        raise DependencyUnreachable(msg)
    path.replace(folder / jar.file_name)


def _cause(error: BaseException) -> BaseException:
    """HTTP libraries wrap theirs three times."""
    inner = getattr(error, "reason", None) or next(iter(error.args), None)
    return _cause(inner) if isinstance(inner, BaseException) else error


def fetch_from_maven(jar: Jar, folder: Path) -> Path:
    """With jgo from the user's repositories, else the public one."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - of the extra `local`, absent elsewhere
    from jgo.maven import MavenContext  # noqa: PLC0415

    mirrors = dict(GlobalSettings.load().repositories)
    context = MavenContext(
        repo_cache=folder, remote_repos=mirrors or None, timeout=CONNECT_TIMEOUT_S
    )
    path: Path = context.create_dependency(jar.coordinate).artifact.resolve()
    return path


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
