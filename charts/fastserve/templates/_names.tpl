{{- define "fastserve.name" -}}
{{- .Values.nameOverride | default "fastserve" }}
{{- end }}

{{/* Beginning of all names: the release's, unless it is told otherwise. At most 40 characters, so that suffixes fit; a release
may have dots in its name, a Service may not. */}}
{{- define "fastserve.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Name of the Deployment and of most that belongs to it. */}}
{{- define "fastserve.operator" -}}
{{- include "fastserve.fullname" . }}-operator
{{- end }}

{{- define "fastserve.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "fastserve.operator" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What pods of the operator, and no others, are found by. The component keeps pods of pools out. */}}
{{- define "fastserve.selector" -}}
app.kubernetes.io/name: {{ include "fastserve.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* labels (list . COMPONENT MORE): ours win over MORE and over commonLabels. */}}
{{- define "fastserve.labels" -}}
{{- $root := index . 0 }}
{{- $own := dict
  "app.kubernetes.io/name" (include "fastserve.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/part-of" "fastserve"
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
{{- toYaml (merge $own (index . 2) $root.Values.commonLabels) }}
{{- end }}

{{/* metadata (list . COMPONENT NAME NAMESPACE LABELS ANNOTATIONS): metadata of an object; without a namespace, of one
of the cluster's. What is given wins over commonAnnotations. */}}
{{- define "fastserve.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 | quote }}
{{- with index . 3 }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- include "fastserve.labels" (list $root (index . 1) (index . 4)) | nindent 2 }}
{{- with merge (deepCopy (index . 5)) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* image (list . IMAGE): a whole reference. */}}
{{- define "fastserve.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- with $root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}
