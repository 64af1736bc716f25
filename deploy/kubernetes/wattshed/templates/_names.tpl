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

{{- define "wattshed.client" -}}nvidia.com/gpu.deploy.client{{- end }}

{{- define "wattshed.nodeSelector" -}}
{{- $selector := deepCopy .Values.nodeSelector }}
{{- if eq .Values.driverClient "selector" }}
{{- $selector = merge $selector (dict (include "wattshed.client" .) "true") }}
{{- end }}
{{- toYaml $selector }}
{{- end }}

{{- /* Terms are joined by "or", so each of the values' own stands twice: beside "true", and beside no label at all. */ -}}
{{- define "wattshed.affinity" -}}
{{- $affinity := deepCopy .Values.affinity }}
{{- if eq .Values.driverClient "affinity" }}
{{- $key := include "wattshed.client" . }}
{{- $ours := list (dict "key" $key "operator" "In" "values" (list "true")) (dict "key" $key "operator" "DoesNotExist") }}
{{- $node := default dict $affinity.nodeAffinity }}
{{- $required := default dict $node.requiredDuringSchedulingIgnoredDuringExecution }}
{{- $terms := list }}
{{- range $term := default (list dict) $required.nodeSelectorTerms }}
{{- range $one := $ours }}
{{- $both := append (default list $term.matchExpressions) $one }}
{{- $terms = append $terms (merge (dict "matchExpressions" $both) $term) }}
{{- end }}
{{- end }}
{{- $required = merge (dict "nodeSelectorTerms" $terms) $required }}
{{- $node = merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $required) $node }}
{{- $affinity = merge (dict "nodeAffinity" $node) $affinity }}
{{- end }}
{{- toYaml $affinity }}
{{- end }}
