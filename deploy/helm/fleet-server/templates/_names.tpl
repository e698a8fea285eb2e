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

{{/* Without the component: objects other than pods add their own. */}}
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

{{/* Host names of the routes that are enabled, as JSON. */}}
{{- define "fleet-server.routeNames" -}}
{{- $names := list }}
{{- if .Values.tlsRoute.enabled }}{{ $names = concat $names .Values.tlsRoute.hostnames }}{{ end }}
{{- if .Values.ingress.enabled }}{{ $names = concat $names .Values.ingress.hosts }}{{ end }}
{{- toJson (uniq $names) }}
{{- end }}

{{/* Every name by which agents connect, as JSON: the Service's, the routes', and those of bootstrap.fleetHosts. */}}
{{- define "fleet-server.agentNames" -}}
{{- $names := concat (fromYamlArray (include "fleet-server.serviceNames" .)) (fromJsonArray (include "fleet-server.routeNames" .)) }}
{{- range .Values.bootstrap.fleetHosts }}
{{- $host := regexReplaceAll "^https?://([^/:]*).*$" . "${1}" }}
{{- if and (regexMatch "^[A-Za-z0-9][-A-Za-z0-9.]*$" $host) (not (regexMatch "^[0-9.]+$" $host)) }}
{{- $names = append $names $host }}
{{- end }}
{{- end }}
{{- toJson (uniq $names) }}
{{- end }}

{{/* The first name that is not a wildcard, of a list as JSON; empty if there is none. */}}
{{- define "fleet-server.firstName" -}}
{{- $first := "" }}
{{- range fromJsonArray . }}
{{- if and (not $first) (not (hasPrefix "*" .)) }}{{ $first = . }}{{ end }}
{{- end }}
{{- $first }}
{{- end }}

{{/* Names that cert-manager is asked for by name; empty unless the operator chose them. As JSON. */}}
{{- define "fleet-server.chosenNames" -}}
{{- if eq .Values.tls.mode "certManager" }}{{ toJson .Values.tls.certManager.dnsNames }}{{ else }}[]{{ end }}
{{- end }}

{{/* Where an agent connects: as the operator says, by a route, by a name of the certificate, or inside the cluster. */}}
{{- define "fleet-server.url" -}}
{{- $route := include "fleet-server.firstName" (include "fleet-server.routeNames" .) }}
{{- $chosen := include "fleet-server.firstName" (include "fleet-server.chosenNames" .) }}
{{- if .Values.bootstrap.fleetHosts }}{{ first .Values.bootstrap.fleetHosts }}
{{- else if $route }}https://{{ $route }}:443
{{- else if $chosen }}https://{{ $chosen }}:{{ .Values.service.port }}
{{- else }}https://{{ include "fleet-server.serviceHost" . }}:{{ .Values.service.port }}
{{- end }}
{{- end }}
