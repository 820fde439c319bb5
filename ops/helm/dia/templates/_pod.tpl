{{/* Takes (list root component): the values as that component has them, its own principals in force. */}}
{{- define "dia.as" -}}
{{- $values := (index . 0).Values }}
{{- $own := get $values.access (index . 1) | default dict }}
{{- $kafka := mergeOverwrite (deepCopy $values.kafka) ($own.kafka | default dict) }}
{{- $clickhouse := mergeOverwrite (deepCopy $values.clickhouse) ($own.clickhouse | default dict) }}
{{- toYaml (dict "Values" (mergeOverwrite (deepCopy $values) (dict "kafka" $kafka "clickhouse" $clickhouse))) }}
{{- end }}

{{/* What every container of dia gets: settings, secrets as files, and no rights. */}}
{{- define "dia.env" -}}
- {name: DIA_KAFKA_BOOTSTRAP, value: {{ .Values.kafka.bootstrap | quote }}}
- {name: DIA_KAFKA_SECURITY_PROTOCOL, value: {{ .Values.kafka.securityProtocol | quote }}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol }}
- {name: DIA_KAFKA_SASL_MECHANISM, value: {{ .Values.kafka.saslMechanism | quote }}}
- {name: DIA_KAFKA_SASL_USER, value: {{ required "kafka.user is needed with SASL" .Values.kafka.user | quote }}}
- {name: DIA_KAFKA_SASL_PASSWORD_FILE, value: /secrets/kafka/password}
{{- end }}
{{- if .Values.kafka.caSecret }}
- {name: DIA_KAFKA_CA_FILE, value: /secrets/kafka-ca/ca.crt}
{{- end }}
- {name: DIA_CLICKHOUSE_SHARDS, value: {{ .Values.clickhouse.shards | quote }}}
- {name: DIA_CLICKHOUSE_CLUSTER, value: {{ .Values.clickhouse.cluster | quote }}}
- {name: DIA_CLICKHOUSE_USER, value: {{ .Values.clickhouse.user | quote }}}
- {name: DIA_CLICKHOUSE_DATABASE, value: {{ .Values.clickhouse.database | quote }}}
{{- if .Values.clickhouse.existingSecret }}
- {name: DIA_CLICKHOUSE_PASSWORD_FILE, value: /secrets/clickhouse/password}
{{- end }}
{{- if .Values.clickhouse.caSecret }}
- {name: DIA_CLICKHOUSE_CA_FILE, value: /secrets/clickhouse-ca/ca.crt}
{{- end }}
{{- if .Values.redis.url }}
- {name: DIA_REDIS_URL, value: {{ .Values.redis.url | quote }}}
{{- if .Values.redis.existingSecret }}
- {name: DIA_REDIS_PASSWORD_FILE, value: /secrets/redis/password}
{{- end }}
{{- if .Values.redis.caSecret }}
- {name: DIA_REDIS_CA_FILE, value: /secrets/redis-ca/ca.crt}
{{- end }}
{{- if .Values.redis.cacheSecret }}
- {name: DIA_CACHE_SECRET_FILE, value: /secrets/cache/secret}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.config }}
- {name: DIA_{{ upper $name }}, value: {{ include "dia.number" $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dia.secrets" -}}
{{- $all := dict "kafka" .Values.kafka.existingSecret "kafka-ca" .Values.kafka.caSecret "clickhouse" .Values.clickhouse.existingSecret "clickhouse-ca" .Values.clickhouse.caSecret "redis" .Values.redis.existingSecret "redis-ca" .Values.redis.caSecret "cache" .Values.redis.cacheSecret }}
{{- $used := dict }}
{{- range $name, $secret := $all }}{{ if $secret }}{{ $_ := set $used $name $secret }}{{ end }}{{ end }}
{{- toYaml $used }}
{{- end }}

{{- define "dia.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- range $name, $secret := include "dia.secrets" . | fromYaml }}
- {name: secret-{{ $name }}, mountPath: /secrets/{{ $name }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dia.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- range $name, $secret := include "dia.secrets" . | fromYaml }}
- name: secret-{{ $name }}
  secret: {secretName: {{ $secret | quote }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes (list root component): as whom a pod runs, and where. */}}
{{- define "dia.pod" -}}
{{- $component := index . 1 }}
{{- with index . 0 -}}
serviceAccountName: {{ include "dia.fullname" . }}
automountServiceAccountToken: false
# A Service called dia would put variables with our prefix into the environment, and a process
# refuses those that are no settings.
enableServiceLinks: false
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "dia.podSecurity" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "dia.selector" . | nindent 8 }}
        app.kubernetes.io/component: {{ $component }}
{{- end }}
{{- end }}

{{- define "dia.probes" -}}
startupProbe:
  httpGet: {path: /startupz, port: http}
  {{- toYaml .Values.probes.startup | nindent 2 }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
{{- end }}

{{- define "dia.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# A large state folder is not walked through at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dia.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Helm reads whole numbers as floats, and would write twenty million as 2e+07. */}}
{{- define "dia.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
