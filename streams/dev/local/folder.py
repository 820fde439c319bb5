"""Paths of a local stack below its home: H/stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.core.process.file_modes import private_folder
from streams.core.settings import stack_file


@dataclass(frozen=True, slots=True)
class StackFolder:
    """``root`` is absolute: children run in other folders."""

    root: Path

    @classmethod
    def of(cls, home: Path) -> StackFolder:
        return cls(home.absolute() / "stack")

    @property
    def home(self) -> Path:
        return self.root.parent

    @property
    def plan(self) -> Path:
        """Kept across starts."""
        return self.root / "plan.json"

    @property
    def published(self) -> Path:
        return stack_file(self.home)

    @property
    def region(self) -> Path:
        """The settings that name its region; kept across starts. Not there: it is of no region."""
        return self.root / "region.json"

    @property
    def roster(self) -> Path:
        """Written by the supervisor."""
        return self.root / "roster.json"

    @property
    def command_lock(self) -> Path:
        """Held by the one command that starts or stops the stack."""
        return self.root / "command.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor for its whole life."""
        return self.root / "supervisor.lock"

    @property
    def password(self) -> Path:
        return self.root / "clickhouse.password"

    @property
    def cache_secret(self) -> Path:
        return self.root / "cache.secret"

    def broker(self, name: str) -> Path:
        return self.root / name

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    def shard(self, index: int) -> Path:
        return self.root / f"clickhouse-{index}"

    @property
    def backups(self) -> Path:
        """The one folder that the shards' BACKUP may write to."""
        return self.root / "backups"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Private to the user."""
        private_folder(self.root)
        self.logs.mkdir(exist_ok=True)
        self.backups.mkdir(exist_ok=True)
