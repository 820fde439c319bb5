#!/bin/bash
# ClickHouse takes values of its configuration from the environment, and Compose gives secrets as
# files: this carries the one to the other. It is exec'ed through, so that signals arrive.
set -euo pipefail
CLUSTER_SECRET=$(</run/secrets/clickhouse_cluster_secret)
READER_PASSWORD=$(</run/secrets/clickhouse_reader_password)
export CLUSTER_SECRET READER_PASSWORD
exec /entrypoint.sh "$@"
