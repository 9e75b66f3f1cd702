{{/* Labels and annotations of a definition; what is ours wins over what is given. */}}
{{- define "fastserve-crds.metadata" -}}
{{- $labels := dict
  "app.kubernetes.io/name" "fastserve-crds"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "fastserve"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "fastserve-crds-%s" .Chart.Version | replace "+" "_") -}}
labels:
  {{- toYaml (merge $labels .Values.labels) | nindent 2 }}
{{- $own := ternary (dict "helm.sh/resource-policy" "keep") dict .Values.keep }}
{{- with merge $own .Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
