{{/* Names, labels and places that several templates share. */}}

{{- define "fleet-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters leave room for the suffixes of Services, Secrets and the StatefulSet's revision label. */}}
{{- define "fleet-server.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "fleet-server.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "fleet-server.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "fleet-server.selector" -}}
app.kubernetes.io/name: {{ include "fleet-server.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Without the component: objects that are no pods add their own. */}}
{{- define "fleet-server.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "fleet-server.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "fleet-server.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "fleet-server.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "fleet-server.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* The Secret that holds certificate and key, whoever writes it. */}}
{{- define "fleet-server.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret.name }}{{ else }}{{ include "fleet-server.fullname" . }}-tls{{ end }}
{{- end }}

{{- define "fleet-server.tlsCertificateKey" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret.certificateKey }}{{ else }}tls.crt{{ end }}
{{- end }}

{{- define "fleet-server.tlsPrivateKeyKey" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret.privateKeyKey }}{{ else }}tls.key{{ end }}
{{- end }}

{{- define "fleet-server.serviceHost" -}}
{{ include "fleet-server.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{/* The Service's names inside the cluster, as a YAML list. */}}
{{- define "fleet-server.serviceNames" -}}
- {{ include "fleet-server.serviceHost" . }}.cluster.local
- {{ include "fleet-server.serviceHost" . }}
- {{ include "fleet-server.fullname" . }}.{{ .Release.Namespace }}
- {{ include "fleet-server.fullname" . }}
- {{ include "fleet-server.fullname" . }}-admin.{{ .Release.Namespace }}.svc
- localhost
{{- end }}

{{/* Where an agent connects: the route, the ingress, or the Service inside the cluster. */}}
{{- define "fleet-server.url" -}}
{{- if .Values.tlsRoute.enabled }}https://{{ first .Values.tlsRoute.hostnames }}:443
{{- else if .Values.ingress.enabled }}https://{{ first .Values.ingress.hosts }}:443
{{- else if .Values.bootstrap.fleetHosts }}{{ first .Values.bootstrap.fleetHosts }}
{{- else }}https://{{ include "fleet-server.serviceHost" . }}:{{ .Values.service.port }}
{{- end }}
{{- end }}
