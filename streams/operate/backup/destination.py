"""Where backups are: a folder, or a bucket of an object store.

    manifests/NAME.json     one whole backup; written last
    parts/NAME/shard-N/     what the server of shard N wrote
    drills/NAME.json        the last good drill of a procedure

The servers write the parts themselves. This process writes manifests, and reads and deletes both. So
both sides have to see one place: a folder is mounted at the same path everywhere; of a bucket, each
server has the named collection `COLLECTION` with the address and its own login.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as files

from streams.core.errors import DependencyUnreachable, UsageError
from streams.core.masking import masked
from streams.core.process.atomic_file import write_atomically
from streams.core.rows.clickhouse_table import quoted
from streams.core.settings import Settings

COLLECTION: Final = "dia_backups"
INDEX: Final = ".backup"
"""ClickHouse's list of the files of a part, with their checksums"""
_MANIFESTS, _PARTS, _DRILLS = "manifests", "parts", "drills"


class BackupDestination:
    """Every method raises `DependencyUnreachable` when the place does not answer."""

    def __init__(self, system: files.FileSystem, root: str, shown: str) -> None:
        self._system = system
        self._root = root.rstrip("/")
        self._shown = shown

    @classmethod
    def of(cls, settings: Settings) -> BackupDestination:
        """Raises `UsageError` without DIA_BACKUP_TO, and for an address of another kind."""
        uri = settings.backup_to
        if not uri:
            raise UsageError(
                "DIA_BACKUP_TO is not set. Name a folder that all ClickHouse servers see at the same "
                "path (file:///backups), or a bucket (s3://bucket/prefix)."
            )
        parts = urlsplit(uri)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            if "'" in parts.path or ".." in Path(parts.path).parts:
                raise UsageError(f"DIA_BACKUP_TO={uri} has a quote or .. in its path.")
            return cls(files.LocalFileSystem(), parts.path, uri)
        if parts.scheme == "s3" and parts.netloc:
            try:
                system, root = files.FileSystem.from_uri(uri)
            except (pa.ArrowInvalid, OSError) as error:
                raise UsageError(f"DIA_BACKUP_TO={masked(uri)}: {error}") from error
            return cls(system, root, masked(uri).partition("?")[0])
        raise UsageError(
            f"DIA_BACKUP_TO={masked(uri)} is neither file:///FOLDER nor s3://BUCKET/PREFIX."
        )

    def __str__(self) -> str:
        return self._shown

    def place(self, name: str, shard: int) -> str:
        """As a statement of ClickHouse names the part of a shard."""
        path = self.part(name, shard)
        if self._local:
            return f"File({quoted(f'{self._root}/{path}')})"
        return f"S3({COLLECTION}, {quoted(path)})"

    @staticmethod
    def part(name: str, shard: int) -> str:
        return f"{_PARTS}/{name}/shard-{shard}"

    def check(self) -> None:
        """A folder that is not mounted must not be made: what is written there would be lost."""
        if self._local and not Path(self._root).is_dir():
            raise DependencyUnreachable(
                f"{self._shown} is no folder here. Mount it, at the same path as on the ClickHouse "
                "servers, or correct DIA_BACKUP_TO."
            )

    def manifests(self) -> list[str]:
        """Names, ascending."""
        return sorted(
            name.removesuffix(".json") for name in self._in(_MANIFESTS) if name.endswith(".json")
        )

    def started(self) -> list[str]:
        """Names of backups that have parts, ascending."""
        return sorted(self._in(_PARTS))

    def manifest(self, name: str) -> bytes:
        return self._read(f"{_MANIFESTS}/{name}.json")

    def index(self, name: str, shard: int) -> bytes | None:
        """The list of files of one part; None without one."""
        try:
            return self._read(f"{self.part(name, shard)}/{INDEX}")
        except FileNotFoundError:
            return None

    def publish(self, name: str, manifest: bytes) -> None:
        """At one instant, durably."""
        self._write(_MANIFESTS, name, manifest)

    def drills(self) -> list[str]:
        """Names of the records of drills, ascending."""
        return sorted(
            name.removesuffix(".json") for name in self._in(_DRILLS) if name.endswith(".json")
        )

    def drill(self, name: str) -> bytes:
        return self._read(f"{_DRILLS}/{name}.json")

    def keep_drill(self, name: str, record: bytes) -> None:
        self._write(_DRILLS, name, record)

    def _write(self, folder: str, name: str, content: bytes) -> None:
        path = f"{self._root}/{folder}/{name}.json"
        with self._reached():
            if self._local:
                self._system.create_dir(f"{self._root}/{folder}")
                write_atomically(Path(path), content, durable=True)
                return
            # An object appears with the end of its upload.
            with self._system.open_output_stream(path) as stream:
                stream.write(content)

    def withdraw(self, name: str) -> None:
        """Delete the manifest: from here on the backup does not exist."""
        with self._reached():
            self._system.delete_file(f"{self._root}/{_MANIFESTS}/{name}.json")

    def delete_parts(self, name: str) -> None:
        with self._reached():
            self._system.delete_dir(f"{self._root}/{_PARTS}/{name}")

    @property
    def _local(self) -> bool:
        return isinstance(self._system, files.LocalFileSystem)

    def _in(self, folder: str) -> Iterator[str]:
        selector = files.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        with self._reached():
            found = self._system.get_file_info(selector)
        return (info.base_name for info in found if not info.base_name.startswith("."))

    def _read(self, path: str) -> bytes:
        with self._reached(), self._system.open_input_stream(f"{self._root}/{path}") as stream:
            content: bytes = stream.read()
            return content

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DependencyUnreachable(
                f"{self._shown} cannot be used: {error}. Check DIA_BACKUP_TO, the login and the rights "
                "of this process there."
            ) from error
