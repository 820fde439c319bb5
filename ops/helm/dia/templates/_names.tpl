{{- define "dia.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains "dia" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-dia" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dia.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "dia.selector" -}}
app.kubernetes.io/name: dia
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dia.labels" -}}
{{ include "dia.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* A default in values.yaml would stay beside the groups somebody names. */}}
{{- define "dia.groups" -}}
{{- .Values.groups | default (dict "all" (dict "agents" "all" "replicas" 2)) | toYaml }}
{{- end }}

{{/* What is called from outside the release, as far as it is wanted. */}}
{{- define "dia.fronts" -}}
{{- $wanted := dict }}
{{- range $name := list "edge" "console" }}
{{- $front := index $.Values $name }}
{{- if $front.enabled }}{{ $_ := set $wanted $name $front }}{{ end }}
{{- end }}
{{- toYaml $wanted }}
{{- end }}

{{/* Takes (list root name): the port of the edge or of the console. */}}
{{- define "dia.frontPort" -}}
{{- $default := get (dict "edge" 8480 "console" 8481) (index . 1) }}
{{- get (index . 0).Values.config (printf "%s_port" (index . 1)) | default $default | int64 }}
{{- end }}
