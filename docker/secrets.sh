#!/bin/sh
# Makes the passwords that docker/compose.yaml mounts, once each.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
for name in clickhouse_password clickhouse_worker_password clickhouse_console_password clickhouse_edge_password \
  clickhouse_reader_password clickhouse_cluster_secret redis_password cache_secret grafana_password; do
  [ -s "secrets/$name" ] || head -c 24 /dev/urandom | base64 | tr -d '\n/+=' >"secrets/$name"
done
# Containers read them under other user ids; on this machine only the folder's owner gets to them.
chmod 700 secrets
chmod 644 secrets/*
