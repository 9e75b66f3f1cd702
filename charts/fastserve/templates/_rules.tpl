{{/* What the operator does in the namespaces it serves, and no more: the verbs that the audit log shows. "create"
stands there as "patch": a server-side apply of what is not there yet needs both. */}}
{{- define "fastserve.rules" -}}
- apiGroups: [fastserve.io]
  resources: [modelpools, submodels]
  verbs: [list, watch]
- apiGroups: [fastserve.io]
  resources: [modelpools/status, submodels/status]
  verbs: [patch]
{{- if .Values.rbac.finalizers }}
- apiGroups: [fastserve.io]
  resources: [modelpools/finalizers, submodels/finalizers]
  verbs: [update]
{{- end }}
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, roles]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Of pools that are scaled: made and taken away, and never watched, as each changes every few seconds. "update" is not
# used here but handed on, as below.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, update, patch, delete]
# Not used: held because Kubernetes lets nobody hand on, in the role of a pool's routers, what they lack.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [fastserve.io]
  resources: [submodels/scale]
  verbs: [get, update]
{{- end }}
