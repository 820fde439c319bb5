"""Every setting: a field with its unit in its name, its bounds and its purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.core.errors import UsageError
from streams.core.settings import secret_file
from streams.core.settings.default_home import default_home
from streams.core.settings.setting import setting
from streams.core.settings.tls import TlsFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Field ``name`` is the environment variable ``DIA_NAME``."""

    home: str = setting("", "folder of the local stack and of worker state")
    kafka_bootstrap: str = setting("", "Kafka address, host:port[,host:port]")
    kafka_security_protocol: str = setting(
        "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: str = setting(
        "SCRAM-SHA-512", "with SASL: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"
    )
    kafka_sasl_user: str = setting("", "with SASL: Kafka user")
    kafka_sasl_password_file: str = setting("", "with SASL: file that holds the password")
    kafka_ca_file: str = setting("", "PEM authorities to trust; default the system's")
    kafka_cert_file: str = setting("", "PEM certificate this client shows to Kafka")
    kafka_key_file: str = setting("", "PEM key of that certificate")
    clickhouse_shards: str = setting(
        "", "shard URLs: comma between shards, | between the replicas of one"
    )
    clickhouse_user: str = setting("default", "ClickHouse user")
    clickhouse_password_file: str = setting("", "file that holds the ClickHouse password")
    clickhouse_ca_file: str = setting(
        "", "PEM authorities to trust at https:// shards; default the system's"
    )
    clickhouse_cert_file: str = setting("", "PEM certificate this client shows to ClickHouse")
    clickhouse_key_file: str = setting("", "PEM key of that certificate")
    clickhouse_database: str = setting("dia", "ClickHouse database")
    clickhouse_cluster: str = setting(
        "", "name of the ClickHouse cluster; empty where every shard is a server on its own"
    )
    redis_url: str = setting("", "Redis address, redis://host:port/db, rediss:// for TLS")
    redis_user: str = setting("", "Redis user, where the address names none")
    redis_password_file: str = setting("", "file that holds the Redis password")
    cache_secret_file: str = setting(
        "", "file with the secret that all processes share to sign what they keep in Redis"
    )
    redis_ca_file: str = setting("", "PEM authorities to trust at rediss://; default the system's")
    redis_timeout_s: float = setting(
        0.5, "longest wait for Redis; a cache is no use that is slower", low=0.01, high=30
    )
    policy_url: str = setting("", "policy service, http://host:port; without it DIA_POLICY_FILE")
    policy_token_file: str = setting("", "file that holds the token shown to the policy service")
    policy_timeout_s: float = setting(
        2.0, "deadline of one request to the policy service", low=0.01, high=60
    )
    policy_file: str = setting("", "JSON file of policies, where there is no policy service")
    schema_registry_url: str = setting("", "schema registry, http://host:port; for Avro and kin")
    schema_registry_user: str = setting("", "user shown to the schema registry")
    schema_registry_password_file: str = setting("", "file that holds that user's password")
    schema_registry_ca_file: str = setting("", "PEM authorities to trust at https://")
    schema_registry_timeout_s: float = setting(5.0, "deadline of one request", low=0.01, high=60)
    replay_policy_file: str = setting(
        "", "TOML file of automatic replays, followed by `dia worker --agents replay`"
    )
    app: str = setting(
        "", "the app, MODULE:NAME; default: [tool.dia] app of pyproject.toml, or the built-in one"
    )
    state_dir: str = setting("", "folder of the RocksDB state; default HOME/state")
    region: str = setting(
        "", "name of this region in the regions' file; empty: there is one region"
    )
    regions_file: str = setting("", "TOML file of all regions; default HOME/regions.toml")

    topic_partitions: str = setting(
        "", "partitions of source topics, TOPIC=N[,TOPIC=N]; what belongs to one follows"
    )
    topic_retention_s: str = setting(
        "", "retention of source topics, TOPIC=SECONDS[,...], -1: unlimited; default 7 days"
    )
    topic_replication_factor: int = setting(
        0, "replicas of new topics; 0: the broker's default", low=0, high=100
    )
    topic_min_insync_replicas: int = setting(
        0, "replicas that acknowledge a write; 0: a majority, 2 of 3", low=0, high=100
    )
    topic_unclean_election: int = setting(
        0, "1: a replica that lacks records may become leader, and they are lost", low=0, high=1
    )
    topic_message_bytes: int = setting(
        0, "largest record batch of a source topic; 0: one event of 1 MiB", low=0, high=64 << 20
    )

    commit_interval_s: float = setting(1.0, "time between commits", low=0.02, high=60)
    commit_max_records: int = setting(
        200_000, "records folded before a commit is due at once", low=1, high=5_000_000
    )
    commit_timeout_s: float = setting(30.0, "deadline of one commit", low=1, high=300)
    fetch_max_records: int = setting(10_000, "records of one fetch call", low=1, high=500_000)
    batch_max_bytes: int = setting(
        32 << 20,
        "bytes of one record batch when it is opened; a larger one stops its partition "
        "(batch_unreadable)",
        low=2 << 20,
        high=1 << 30,
    )
    fetch_timeout_s: float = setting(0.2, "longest wait of one fetch call", low=0.001, high=5)
    session_timeout_s: float = setting(30.0, "group session timeout", low=6, high=300)
    drain_timeout_s: float = setting(20.0, "deadline of a graceful stop", low=1, high=600)
    leave_group: int = setting(0, "1: a stop gives partitions away; 0: they wait", low=0, high=1)
    scale_up_s: float = setting(30.0, "overload before one more process", low=1, high=3600)
    scale_down_s: float = setting(120.0, "idleness before one process fewer", low=1, high=86_400)

    window_s: int = setting(60, "length of a window", low=60, high=60)
    grace_s: int = setting(60, "how long a window waits for late records", low=0, high=86_400)
    late_hold_s: float = setting(
        30.0, "how long a window reopened by a late record gathers more", low=0, high=3600
    )
    idle_close_s: float = setting(
        10.0, "silence after which a partition counts as idle", low=0.5, high=3600
    )
    future_max_s: int = setting(300, "furthest event time after append", low=0, high=86_400)
    late_max_s: int = setting(
        604_800, "furthest event time before append", low=60, high=28 * 86_400
    )
    dedupe_ttl_s: int = setting(3600, "how long an event id is remembered", low=1, high=604_800)
    kernels: str = setting(
        "on", "compiled loops of the data plane: on, where numba is installed, or off: numpy alone"
    )
    misplaced_keys: str = setting(
        "count",
        "records in another partition than murmur2 of their key names: count, or refuse as "
        "dead letters (key_misplaced)",
    )
    poison_window_s: float = setting(
        10.0, "time over which the share of bad records is taken", low=1, high=3600
    )
    poison_min_records: int = setting(
        1000, "records in that time before the share means anything", low=1, high=10_000_000
    )
    poison_max_ratio: float = setting(
        0.5,
        "share of bad records above which a tenant is quarantined, or of many tenants at once, "
        "their partition stops",
        low=0,
        high=1,
    )
    poison_min_tenants: int = setting(
        3,
        "tenants whose records must be mostly bad at once for their partition to stop",
        low=1,
        high=1000,
    )
    quarantine_s: float = setting(
        60.0,
        "how long a tenant stays quarantined after its records were mostly bad",
        low=1,
        high=86_400,
    )
    quarantine_letters_per_s: float = setting(
        100.0,
        "dead letters a second that hold their record, of a quarantined tenant, and of one over "
        "quota or with conflicts; the others point to it",
        low=0,
        high=100_000,
    )
    quota_letters: int = setting(
        0, "dead letters of a tenant an hour that hold their record; 0: no bound", low=0, high=10**8
    )
    emit_interval_s: float = setting(
        0.0, "time between early rows of live windows; 0: with each commit", low=0, high=3600
    )
    emit_rows_max: int = setting(
        20_000, "early rows of one partition in one interval", low=0, high=1_000_000
    )
    max_live_windows: int = setting(
        2_000_000,
        "live windows of one partition; above 80 % it pauses and closes the oldest",
        low=1000,
        high=50_000_000,
    )
    max_series: int = setting(
        2_000_000,
        "series of one partition that had a window within 10 to 20 minutes; its tenants share them",
        low=1000,
        high=20_000_000,
    )
    quota_series: int = setting(
        0, "of those, one tenant's; 0: its share, half at most", low=0, high=20_000_000
    )
    quota_new_series: int = setting(
        250_000,
        "series that one tenant may begin in one partition within a minute of append time",
        low=1,
        high=20_000_000,
    )
    max_models: int = setting(
        200_000, "models known to one partition; its tenants share them", low=10, high=10_000_000
    )
    quota_models: int = setting(
        0, "of those, one tenant's; 0: its share, half at most", low=0, high=10_000_000
    )
    model_retention_days: int = setting(
        400, "days after its last result that a partition forgets a model", low=1, high=3650
    )
    max_unacked_bytes: int = setting(
        256 << 20,
        "outbox bytes of one partition; above it the partition pauses",
        low=1 << 20,
        high=16 << 30,
    )
    max_ids: int = setting(
        40_000_000,
        "event ids remembered by one partition; its tenants share them",
        low=1000,
        high=500_000_000,
    )
    quota_ids: int = setting(
        0, "of those, one tenant's; 0: its share, half at most", low=0, high=500_000_000
    )

    max_outcome_bytes: int = setting(
        512 << 20,
        "outcomes of simulations remembered by one partition; its tenants share them",
        low=1 << 20,
        high=16 << 30,
    )
    quota_outcome_bytes: int = setting(
        0, "of those, one tenant's; 0: its share, half at most", low=0, high=16 << 30
    )
    agent_timeout_s: float = setting(
        300.0,
        "longest wait of an agent in the middle of one event, before it is a dead letter",
        low=0.1,
        high=86_400,
    )
    agent_wait_share: float = setting(
        0.5,
        "seconds of each second that events of tenants may wait longer than others' events; 1: no bound",
        low=0.01,
        high=1,
    )
    window_close_timeout_s: float = setting(
        10.0, "longest wait of one on_window_close, before its window is held", low=0.1, high=86_400
    )
    max_table_bytes: int = setting(
        1 << 30,
        "one key/value table in one partition; above it the partition stops",
        low=1 << 20,
        high=1 << 40,
    )
    job_commit_interval_s: float = setting(
        0.1, "time between commits of finished simulations", low=0.02, high=60
    )
    max_ahead: int = setting(
        2_000_000,
        "offsets read past the oldest unfinished request; at 80 % the partition pauses",
        low=1,
        high=5_000_000,
    )
    max_waiting: int = setting(
        220_000,
        "unfinished requests of one partition, of which the index is kept; its tenants share them",
        low=2,
        high=5_000_000,
    )
    quota_waiting: int = setting(
        0, "of those, one tenant's; 0: its share, half at most", low=0, high=5_000_000
    )
    quota_pool_s: int = setting(
        0,
        "pool seconds of one tenant's simulations in one worker process a minute; 0: no bound",
        low=0,
        high=100_000,
    )
    max_ahead_bytes: int = setting(
        64 << 20,
        "requests of one partition that are kept whole; others are read again in their turn",
        low=2 << 20,
        high=4 << 30,
    )
    normal_share: float = setting(
        0.25, "share of starts kept for priorities below 5", low=0.01, high=0.99
    )
    job_retries: str = setting(
        "",
        "attempts of simulations by error, CODE=ATTEMPTSxPAUSE_S[,...]; others as in the scenario",
    )
    pool_processes: int = setting(0, "processes for simulations; 0: one a CPU", low=0, high=1024)
    pool_processes_min: int = setting(
        0, "fewest of them, by the requests that wait; 0: always all", low=0, high=1024
    )
    pool_recycle_jobs: int = setting(
        5000, "simulations after which a process is replaced", low=1, high=1_000_000
    )
    pool_memory_bytes: int = setting(
        1 << 30, "memory of one of them beyond what it starts with", low=64 << 20, high=1 << 40
    )

    hot_ids: int = setting(
        1_000_000,
        "event ids of a partition kept in memory, about 56 bytes each, before they move to a file; at "
        "most a sixteenth of DIA_MAX_IDS",
        low=1000,
        high=10_000_000,
    )
    changelog_slack_bytes: int = setting(
        4 << 20,
        "changelog of one partition below which it is not compacted",
        low=64 << 10,
        high=1 << 30,
    )
    changelog_part_bytes: int = setting(
        900 << 10, "bytes of one changelog record", low=64 << 10, high=900 << 10
    )
    trim_commits: int = setting(30, "commits between two trims of a changelog", low=1, high=10_000)

    sink_batch_rows: int = setting(50_000, "rows of one insert", low=100, high=1_000_000)
    sink_queue_rows: int = setting(
        200_000, "rows waiting for one shard in one process", low=1000, high=10_000_000
    )
    sink_timeout_s: float = setting(30.0, "deadline of one insert", low=1, high=600)
    sink_pool_size: int = setting(4, "connections to one shard", low=1, high=20)
    sink_acquire_s: float = setting(30.0, "longest wait for a pooled connection", low=0.1, high=300)
    rollup_interval_s: float = setting(
        15.0, "shortest time between two recomputations of one hour or day", low=1, high=3600
    )

    load_history: int = setting(1, "1: keep the load history of 400 days; 0: no", low=0, high=1)
    forecast_interval_s: float = setting(
        0.0, "time between forecasts of the load by one worker of all; 0: none", low=0, high=86_400
    )
    audit_interval_s: float = setting(
        3600.0, "time between audits by one worker of all; 0: none", low=0, high=604_800
    )
    backup_to: str = setting("", "backups: file:///FOLDER or s3://BUCKET/PREFIX; empty: none")
    backup_user: str = setting("", "ClickHouse user that backs up; default DIA_CLICKHOUSE_USER")
    backup_password_file: str = setting("", "file that holds the password of that user")
    backup_interval_s: float = setting(86_400.0, "time between backups", low=3600, high=2_592_000)
    backup_full_s: float = setting(604_800.0, "between full ones", low=3600, high=7_776_000)
    backup_keep_s: float = setting(7_776_000.0, "age that is kept", low=3600, high=315_360_000)
    backup_timeout_s: float = setting(21_600.0, "deadline of one backup", low=60, high=86_400)
    drill_interval_s: float = setting(0.0, "between drills; 0: by hand", low=0, high=7_776_000)
    degraded_latency_s: float = setting(
        1.0, "a shard is degraded when 5 % of its calls take longer", low=0.01, high=60
    )
    degraded_error_share: float = setting(
        0.01, "share of failed calls above which a shard is degraded", low=0, high=1
    )
    state_free_min_bytes: int = setting(
        128 << 20,
        "free space for state, or an edge's spool, below which the intake stops; 0 disables the check",
        low=0,
        high=1 << 50,
    )
    m1_retention_days: int = setting(30, "days minute rows are kept", low=8, high=3650)
    sharding: str = setting("hash", "sharding strategy: hash, range:FILE or directory:FILE")

    edge_host: str = setting("127.0.0.1", "address that takes events over HTTP")
    edge_port: int = setting(8480, "its port; 0 takes a free one", low=0, high=65_535)
    edge_requests: int = setting(
        1000, "requests of one tenant in a minute, of all edges of a Redis", low=1, high=1_000_000
    )
    edge_events: int = setting(
        3_000_000, "events of one tenant in a minute, as requests", low=10_000, high=1_000_000_000
    )
    edge_bytes: int = setting(
        1 << 30,
        "bytes of bodies of one tenant within a minute, as requests",
        low=32 << 20,
        high=1 << 40,
    )
    edge_simulations: int = setting(
        60_000, "simulation requests of one tenant within a minute", low=10_000, high=1_000_000_000
    )
    edge_refused_ms: int = setting(
        1000,
        "milliseconds of an edge's processor for refused events of one tenant within a minute, as requests",
        low=100,
        high=60_000,
    )
    edge_body_bytes: int = setting(4 << 20, "largest body", low=1 << 10, high=32 << 20)
    edge_inflight_bytes: int = setting(
        64 << 20,
        "bodies being read, and events of one topic on their way; a tenant has at most half of it",
        low=64 << 20,
        high=4 << 30,
    )
    edge_spool_bytes: int = setting(
        1 << 30,
        "events of one topic on disk while Kafka is away; a tenant has at most half of it",
        low=1 << 20,
        high=1 << 40,
    )

    metrics_topic: str = setting("", "topic for OTLP, Prometheus; empty: the first that fits")
    otlp_tenant: str = setting("dia.tenant", "resource attribute of OTLP that names the tenant")
    otlp_model: str = setting("service.name", "resource attribute of OTLP that names the model")
    otlp_labels: str = setting("", "resource attributes of OTLP that become labels, name[,name]")
    prometheus_tenant: str = setting("dia_tenant", "label of Prometheus that names the tenant")
    prometheus_model: str = setting("job", "label of Prometheus that names the model")

    console_host: str = setting("127.0.0.1", "address of the console and its query API")
    console_port: int = setting(8481, "its port; 0 takes a free one", low=0, high=65_535)
    console_requests: int = setting(
        30_000, "requests of one token within a minute", low=1, high=10_000_000
    )

    address_connections: int = setting(
        500,
        "connections of one client address to an edge or a console; 0, and with --behind-tls: no "
        "bound, for a proxy that bounds them",
        low=0,
        high=100_000,
    )

    workers_at: str = setting(
        "",
        "metrics ports of workers on other hosts, for the console, host:port[,host:port]; a name "
        "stands for all of its addresses",
    )
    tokens_file: str = setting("", "hashes of access tokens; default HOME/access/tokens.json")

    oidc_file: str = setting("", "TOML file: signing in to the console by OpenID Connect")
    http_host: str = setting("127.0.0.1", "address of the health and metrics port")
    http_port: int = setting(
        0, "health and metrics port of slot 0; 0 takes a free one", low=0, high=65_535
    )
    pages_host: str = setting("127.0.0.1", "address of the app's pages")
    pages_port: int = setting(0, "port of its pages in slot 0; 0: none", low=0, high=65_535)
    pages_behind_tls: int = setting(0, "1: a proxy ends TLS in front of the pages", low=0, high=1)
    pages_peers: str = setting(
        "", "address of the pages of other hosts, https://{host}.workers:{port}; empty: not asked"
    )
    otel_endpoint: str = setting(
        "", "OTLP collector of traces, http://host:4318; empty: nothing is traced"
    )
    otel_ca_file: str = setting(
        "", "PEM authorities to trust at an https:// collector; default the system's"
    )
    otel_sample_ratio: float = setting(
        0.01, "share of requests to follow; a caller's own decision counts instead", low=0, high=1
    )
    log_format: str = setting("auto", "auto, console or json")
    log_level: str = setting("info", "debug, info, warning or error")

    def state_path(self) -> Path:
        """The folder of this host's RocksDB stores."""
        return Path(self.state_dir) if self.state_dir else self.home_path() / "state"

    def home_path(self) -> Path:
        return Path(self.home) if self.home else default_home()

    def clickhouse_password(self) -> str:
        """ "" when no file is set. Raises `UsageError` when it is unreadable."""
        return secret_file.read("DIA_CLICKHOUSE_PASSWORD_FILE", self.clickhouse_password_file)

    def clickhouse_tls(self) -> TlsFiles:
        return TlsFiles(
            variables="DIA_CLICKHOUSE",
            ca=self.clickhouse_ca_file,
            certificate=self.clickhouse_cert_file,
            key=self.clickhouse_key_file,
        )

    def redis_options(self) -> dict[str, Any]:
        """Beside ``redis_url``, whose own user and password win. Raises `UsageError` for an
        unreadable password file, or an authority without TLS."""
        if self.redis_ca_file and not self.redis_url.startswith("rediss:"):
            raise UsageError(
                "DIA_REDIS_CA_FILE is set, but DIA_REDIS_URL is not encrypted. Let it begin with "
                "rediss://, or unset the file."
            )
        options = {
            "username": self.redis_user,
            "password": secret_file.read("DIA_REDIS_PASSWORD_FILE", self.redis_password_file),
            "ssl_ca_certs": self.redis_ca_file,
        }
        return {name: value for name, value in options.items() if value}

    def shards(self) -> list[list[str]]:
        """URLs: one inner list per shard, its replicas in order of preference. Raises `UsageError`
        for replicas without a cluster, which would not share rows."""
        groups = [s.strip() for s in self.clickhouse_shards.split(",") if s.strip()]
        urls = [[url.strip() for url in group.split("|") if url.strip()] for group in groups]
        if not self.clickhouse_cluster and any(len(group) > 1 for group in urls):
            raise UsageError(
                "DIA_CLICKHOUSE_SHARDS names replicas (|), but DIA_CLICKHOUSE_CLUSTER is empty. "
                "Replicas share rows only inside a ClickHouse cluster: name it."
            )
        return urls

    def early_rows_every_s(self) -> float:
        """Slightly less than configured, so that a commit just before the time includes them."""
        return 0.9 * (self.emit_interval_s or self.commit_interval_s)
