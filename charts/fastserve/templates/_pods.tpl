{{/* What Pod Security "restricted" asks of a pod, and a fixed user. */}}
{{- define "fastserve.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "fastserve.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The operator's settings. */}}
{{- define "fastserve.environment" -}}
{{- $secrets := list }}
{{- range .Values.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end -}}
- name: FASTSERVE_ROUTER_IMAGE
  value: {{ include "fastserve.image" (list . .Values.images.router) | quote }}
- name: FASTSERVE_TRITON_IMAGE
  value: {{ include "fastserve.image" (list . .Values.images.triton) | quote }}
- name: FASTSERVE_IMAGE_PULL_POLICY
  value: {{ .Values.images.pullPolicy }}
- name: FASTSERVE_IMAGE_PULL_SECRETS
  value: {{ join "," $secrets | quote }}
- name: FASTSERVE_WATCH_NAMESPACES
  value: {{ .Values.watchNamespaces | uniq | join "," | quote }}
- name: FASTSERVE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: FASTSERVE_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: FASTSERVE_LEASE_NAME
  value: {{ include "fastserve.operator" . }}
- name: FASTSERVE_NETWORK_POLICIES
  value: {{ .Values.networkPolicy.pools | quote }}
- name: FASTSERVE_PROMETHEUS_NAMESPACE
  value: {{ .Values.networkPolicy.prometheusNamespace | quote }}
- name: FASTSERVE_CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain | quote }}
- name: FASTSERVE_LISTEN
  value: "0.0.0.0:8082"
- name: FASTSERVE_WRITES_PER_SECOND
  value: {{ .Values.apiWrites.perSecond | quote }}
- name: FASTSERVE_WRITE_BURST
  value: {{ .Values.apiWrites.burst | quote }}
- name: FASTSERVE_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end }}
