#!/bin/bash
# ClickHouse takes values of its configuration from the environment, and Compose gives secrets as
# files: this carries the one to the other. It is exec'ed through, so that signals arrive.
set -euo pipefail
CLUSTER_SECRET=$(</run/secrets/clickhouse_cluster_secret)
READER_PASSWORD=$(</run/secrets/clickhouse_reader_password)
WORKER_PASSWORD=$(</run/secrets/clickhouse_worker_password)
CONSOLE_PASSWORD=$(</run/secrets/clickhouse_console_password)
BACKUP_PASSWORD=$(</run/secrets/clickhouse_backup_password)
EDGE_PASSWORD=$(</run/secrets/clickhouse_edge_password)
export CLUSTER_SECRET READER_PASSWORD WORKER_PASSWORD CONSOLE_PASSWORD EDGE_PASSWORD BACKUP_PASSWORD
exec /entrypoint.sh "$@"
