{{- define "wattshed.name" -}}
{{- if contains "wattshed" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-wattshed" (.Release.Name | trunc 41 | trimSuffix "-") }}{{- end -}}
{{- end }}

{{- define "wattshed.selector" -}}
app.kubernetes.io/name: wattshed
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wattshed.labels" -}}
{{ include "wattshed.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "wattshed.scheme" -}}
{{- if .Values.webConfigSecret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- /* The agents' file of settings: a collector of this release that has a user may take what they keep. */ -}}
{{- define "wattshed.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if and .Values.collector.enabled .Values.collector.agentsSecret }}
{{- $config = merge $config (dict "history" (dict "tcp_users" (list .Values.collector.agentsLogin))) }}
{{- end }}
{{- toToml $config }}
{{- end }}
