{{- define "roadstead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* The release's name where it already says "roadstead", so that the usual install has short names. 40: suffixes follow. */ -}}
{{- define "roadstead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "roadstead.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "roadstead.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "roadstead.selectorLabels" -}}
app.kubernetes.io/name: {{ include "roadstead.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ ternary "operator" "member" (eq .Values.mode "hub") }}
{{- end -}}

{{- define "roadstead.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "roadstead.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: roadstead
{{- /* Not "roadstead": that value marks the operator's own children, which it watches and prunes. */}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "roadstead.serviceAccountName" -}}
{{- if eq .Values.mode "member" -}}
{{- default (include "roadstead.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default (printf "%s-operator" (include "roadstead.fullname" .)) .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "roadstead.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "roadstead.leaseName" -}}{{ include "roadstead.fullname" . }}-operator{{- end -}}
{{- define "roadstead.webhookSecret" -}}{{ include "roadstead.fullname" . }}-webhook-tls{{- end -}}
{{- define "roadstead.webhookService" -}}{{ include "roadstead.fullname" . }}-webhook{{- end -}}

{{- /*
What the operator does to the objects that make up a service, in the hub (regions that are node pools of it) and in members alike.
No `update`, no `deletecollection`, no `*`: it writes by server-side apply and deletes one object at a time, with its uid.
The argument is the list of verbs, so that a member can be given reading everywhere and writing in some namespaces.
*/ -}}
{{- define "roadstead.childRules" -}}
- apiGroups: [""]
  resources: [configmaps, secrets, serviceaccounts, services]
  verbs: {{ toJson . }}
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: {{ toJson . }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: {{ toJson . }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: {{ toJson . }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: {{ toJson . }}
# So that the pods of a service with encryption may hand in their proofs. An API server lets nobody give more than they have.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: {{ toJson . }}
# Where these kinds are served: certificates from a cert-manager issuer, scraping by the Prometheus operator.
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: {{ toJson . }}
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: {{ toJson . }}
{{- end -}}

{{- /* What the operator reads to know a region's health, version and capacity. */ -}}
{{- define "roadstead.observeRules" -}}
- apiGroups: [""]
  resources: [nodes, pods]
  verbs: [list]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Discovery, version and health are granted to everybody by default; hardened clusters take that away.
- nonResourceURLs: [/api, /api/*, /apis, /apis/*, /version, /version/, /livez, /readyz]
  verbs: [get]
{{- end -}}
