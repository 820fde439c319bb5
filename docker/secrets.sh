#!/bin/sh
# Makes the passwords that docker/compose.yaml mounts, once each.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
for name in kafka_password kafka_worker_password kafka_edge_password kafka_console_password \
  clickhouse_password clickhouse_worker_password clickhouse_console_password clickhouse_edge_password \
  clickhouse_backup_password clickhouse_reader_password clickhouse_cluster_secret redis_password cache_secret grafana_password; do
  [ -s "secrets/$name" ] || head -c 24 /dev/urandom | base64 | tr -d '\n/+=' >"secrets/$name"
done
# The broker's users, and what its health check sends.
login=org.apache.kafka.common.security.plain.PlainLoginModule
operator=$(cat secrets/kafka_password)
cat >secrets/kafka_users <<END
KafkaServer {
  $login required
  username="dia" password="$operator"
  user_dia="$operator"
  user_dia-worker="$(cat secrets/kafka_worker_password)"
  user_dia-edge="$(cat secrets/kafka_edge_password)"
  user_dia-console="$(cat secrets/kafka_console_password)";
};
END
cat >secrets/kafka_client <<END
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config=$login required username="dia" password="$operator";
END
# Containers read them under other user ids; on this machine only the folder's owner gets to them.
chmod 700 secrets
chmod 644 secrets/*
