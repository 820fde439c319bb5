"""State of a local stack, for its users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import CLICKHOUSE_DATABASE, CLICKHOUSE_USER, StackPlan, remembered_plan
from streams.dev.local.roster import ChildState, Roster, read_roster
from streams.dev.local.services import services


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """``ready`` was probed just before; ``reason`` explains its last death."""

    name: str
    address: str
    state: ChildState
    ready: bool
    pid: int | None
    starts: int
    reason: str
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """Addresses are empty when none runs."""

    home: Path
    running: bool
    supervisor_pid: int | None = None
    kafka_bootstrap: str = ""
    redis_url: str = ""
    shards: tuple[str, ...] = ()
    clickhouse_user: str = ""
    clickhouse_password_file: str = ""
    clickhouse_database: str = ""
    cache_secret_file: str = ""
    services: tuple[ServiceStatus, ...] = ()

    @property
    def ready(self) -> bool:
        return self.running and all(service.ready for service in self.services)

    def settings(self) -> dict[str, str]:
        return {
            "kafka_bootstrap": self.kafka_bootstrap,
            "clickhouse_shards": ",".join(self.shards),
            "clickhouse_user": self.clickhouse_user,
            "clickhouse_password_file": self.clickhouse_password_file,
            "clickhouse_database": self.clickhouse_database,
            "redis_url": self.redis_url,
            "cache_secret_file": self.cache_secret_file,
        }


def live_roster(folder: StackFolder) -> Roster | None:
    """None when no stack runs."""
    roster = read_roster(folder)
    return roster if roster is not None and roster.supervisor.alive() else None


def status(home: Path) -> StackStatus:
    """Probes every service; takes a second for a silent one."""
    folder = StackFolder.of(home)
    roster, plan = live_roster(folder), remembered_plan(folder)
    if roster is None or plan is None:
        return StackStatus(home=folder.home, running=False)
    return StackStatus(
        home=folder.home,
        running=True,
        supervisor_pid=roster.supervisor.pid,
        kafka_bootstrap=plan.kafka_bootstrap,
        redis_url=plan.redis_url,
        shards=plan.shard_urls,
        clickhouse_user=CLICKHOUSE_USER,
        clickhouse_password_file=str(folder.password),
        clickhouse_database=CLICKHOUSE_DATABASE,
        cache_secret_file=str(folder.cache_secret),
        services=_services(folder, plan, roster),
    )


def _services(folder: StackFolder, plan: StackPlan, roster: Roster) -> tuple[ServiceStatus, ...]:
    serves = {service.name: service.serves for service in services(folder, plan)}
    return tuple(
        ServiceStatus(
            name=entry.name,
            address=entry.address,
            state=entry.state,
            ready=entry.state is ChildState.READY and serves[entry.name](),
            pid=entry.process.pid if entry.process else None,
            starts=entry.starts,
            reason=entry.reason,
            log=Path(entry.log),
        )
        for entry in roster.entries
    )
