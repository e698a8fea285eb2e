{{/* The server's YAML: what the chart decides, with `config` merged over it. */}}

{{- define "fleet-server.dataDir" -}}/var/lib/fleet-server{{- end }}
{{- define "fleet-server.etcDir" -}}/etc/fleet-server{{- end }}

{{/* What other values decide: path in `config`, and the value (or the reason). */}}
{{- define "fleet-server.ownedKeys" -}}
inputs.0.server.host: listenAddress
inputs.0.server.port: service.port (the pod itself always listens on 8220)
inputs.0.server.internal_port: nothing; the internal listener is for the pod itself, on 8221
inputs.0.server.ssl.enabled: tls.mode
inputs.0.server.ssl.certificate: tls.existingSecret.certificateKey
inputs.0.server.ssl.key: tls.existingSecret.privateKeyKey
inputs.0.server.ssl.key_passphrase: tls.existingSecret.passphraseKey
inputs.0.server.ssl.key_passphrase_path: tls.existingSecret.passphraseKey
inputs.0.server.ssl.certificate_authorities: tls.clientAuth.caSecret
inputs.0.server.ssl.certificate_revocation_lists: tls.clientAuth.crlSecret
inputs.0.server.ssl.client_authentication: tls.clientAuth.mode
inputs.0.server.ssl.certificate_reload.enabled: tls.reload.enabled
inputs.0.server.ssl.certificate_reload.debounce: tls.reload.debounce
inputs.0.server.ssl.certificate_reload.reload_interval: tls.reload.reloadInterval
path.data: store.persistence (the directory in the pod is fixed)
http.enabled: nothing; probes need the listener
http.host: nothing; probes need the pod's address
http.port: http.port
admin.enabled: admin.enabled
admin.host: listenAddress
admin.port: admin.service.port (the pod itself always listens on 8222)
admin.api_key_path: admin.apiKey.existingSecret
bootstrap.enabled: bootstrap.enabled
bootstrap.enrollment_token_path: bootstrap.enrollmentToken.existingSecret
bootstrap.fleet_hosts: bootstrap.fleetHosts
{{- end }}

{{/* `config` with its one input as key "0", so that one way of naming paths covers all of it. */}}
{{- define "fleet-server.userConfig" -}}
{{- $user := deepCopy .Values.config }}
{{- $inputs := get $user "inputs" }}
{{- if $inputs }}{{ $_ := set $user "inputs" (dict "0" (first $inputs)) }}{{ end }}
{{- toJson $user }}
{{- end }}

{{- define "fleet-server.guards.config" -}}
{{- if not (kindIs "map" .Values.config) }}
{{- fail "config: has to be a mapping, as the server's file is. Write {} for nothing." }}
{{- end }}
{{- $inputs := get .Values.config "inputs" }}
{{- if hasKey .Values.config "inputs" }}
{{- if not (kindIs "slice" $inputs) }}
{{- fail "config.inputs: has to be a list with one entry, as in the server's file." }}
{{- else if ne (len $inputs) 1 }}
{{- fail (printf "config.inputs: holds %d entries; it has to be a list with exactly one, which is merged into the chart's." (len $inputs)) }}
{{- else if not (kindIs "map" (first $inputs)) }}
{{- fail "config.inputs[0]: has to be a mapping, for example {server: {limits: {max_agents: 5000}}}." }}
{{- end }}
{{- end }}
{{- $user := fromJson (include "fleet-server.userConfig" .) }}
{{- include "fleet-server.refuseDotted" (dict "at" "config" "node" $user) }}
{{- $own := fromYaml (include "fleet-server.chartConfig" .) }}
{{- $_ := set (get $own.inputs "0").server "timeouts" dict }}
{{- include "fleet-server.refuseNoMapping" (dict "at" "config" "own" $own "node" $user) }}
{{- range $path, $instead := fromYaml (include "fleet-server.ownedKeys" .) }}
{{- $node := $user }}
{{- $found := true }}
{{- $parts := splitList "." $path }}
{{- range $depth, $part := $parts }}
{{- if and $found (kindIs "map" $node) (hasKey $node $part) }}
{{- $node = get $node $part }}
{{- else }}
{{- $found = false }}
{{- end }}
{{- end }}
{{- if $found }}
{{- fail (printf "config.%s: is decided by the chart. Remove it and set instead: %s." (replace "inputs.0" "inputs[0]" $path) $instead) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A dotted key would slip past the merge. Free-form maps may have dots. */}}
{{- define "fleet-server.refuseDotted" -}}
{{- $at := .at }}
{{- if kindIs "map" .node }}
{{- range $key, $value := .node }}
{{- if contains "." $key }}
{{- fail (printf "%s.%s: dotted keys are not merged. Write it nested: {%s}." (replace "inputs.0" "inputs[0]" $at) $key (replace "." ": {" $key)) }}
{{- end }}
{{- if not (has $key (list "headers" "proxy_headers" "global_labels")) }}
{{- include "fleet-server.refuseDotted" (dict "at" (printf "%s.%s" $at $key) "node" $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Null, or anything else that is not a mapping, would replace a whole section of the chart's by the merge: TLS, probes. */}}
{{- define "fleet-server.refuseNoMapping" -}}
{{- $at := .at }}
{{- $node := .node }}
{{- range $key, $own := .own }}
{{- if and (kindIs "map" $own) (hasKey $node $key) }}
{{- $path := replace "inputs.0" "inputs[0]" (printf "%s.%s" $at $key) }}
{{- if not (kindIs "map" (get $node $key)) }}
{{- fail (printf "%s: is %s, and would replace what the chart sets below it. Write a mapping with the keys that you mean, or remove it." $path (toJson (get $node $key))) }}
{{- end }}
{{- include "fleet-server.refuseNoMapping" (dict "at" $path "own" $own "node" (get $node $key)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fleet-server.chartConfig" -}}
{{- $etc := include "fleet-server.etcDir" . }}
{{- $tls := .Values.tls }}
path:
  data: {{ include "fleet-server.dataDir" . }}
inputs:
  "0":
    type: fleet-server
    server:
      host: {{ .Values.listenAddress | quote }}
      port: 8220
      internal_port: 8221
      ssl:
        enabled: true
        certificate: {{ $etc }}/tls/{{ include "fleet-server.tlsCertificateKey" . }}
        key: {{ $etc }}/tls/{{ include "fleet-server.tlsPrivateKeyKey" . }}
        {{- with $tls.existingSecret.passphraseKey }}
        key_passphrase_path: {{ $etc }}/tls/{{ . }}
        {{- end }}
        client_authentication: {{ $tls.clientAuth.mode }}
        {{- if $tls.clientAuth.caSecret }}
        certificate_authorities:
          - {{ $etc }}/client-ca/{{ $tls.clientAuth.caSecretKey }}
        {{- end }}
        {{- if $tls.clientAuth.crlSecret }}
        certificate_revocation_lists:
          - {{ $etc }}/crl/{{ $tls.clientAuth.crlSecretKey }}
        {{- end }}
        certificate_reload:
          enabled: {{ $tls.reload.enabled }}
          debounce: {{ $tls.reload.debounce }}
          reload_interval: {{ $tls.reload.reloadInterval }}
http:
  enabled: true
  host: ${POD_IP}
  port: {{ .Values.http.port }}
admin:
  enabled: {{ .Values.admin.enabled }}
  {{- if .Values.admin.enabled }}
  host: {{ .Values.listenAddress | quote }}
  port: 8222
  {{- if .Values.admin.apiKey.existingSecret }}
  api_key_path: {{ $etc }}/admin/{{ .Values.admin.apiKey.key }}
  {{- end }}
  {{- end }}
bootstrap:
  enabled: {{ .Values.bootstrap.enabled }}
  {{- if .Values.bootstrap.enrollmentToken.existingSecret }}
  enrollment_token_path: {{ $etc }}/bootstrap/{{ .Values.bootstrap.enrollmentToken.key }}
  {{- end }}
  fleet_hosts:
    {{- if .Values.bootstrap.fleetHosts }}
    {{- toYaml .Values.bootstrap.fleetHosts | nindent 4 }}
    {{- else }}
    - {{ include "fleet-server.url" . }}
    {{- end }}
logging:
  level: info
  to_stderr: true
  to_files: false
{{- end }}

{{- define "fleet-server.config" -}}
{{- $own := fromYaml (include "fleet-server.chartConfig" .) }}
{{- $merged := mergeOverwrite $own (fromJson (include "fleet-server.userConfig" .)) }}
{{- $_ := set $merged "inputs" (list (get $merged.inputs "0")) }}
{{- toYaml $merged }}
{{- end }}

{{/* server.timeouts.drain, also when `config` sets it. */}}
{{- define "fleet-server.drainSeconds" -}}
{{- $user := fromJson (include "fleet-server.userConfig" .) }}
{{- $drain := dig "inputs" "0" "server" "timeouts" "drain" "10s" $user }}
{{- $seconds := include "fleet-server.seconds" $drain }}
{{- if not $seconds }}
{{- fail (printf "config.inputs[0].server.timeouts.drain: %q is not a duration. Write a number with a unit, for example 30s." (toString $drain)) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{- define "fleet-server.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- addf (float64 .Values.preStopSeconds) (float64 (include "fleet-server.drainSeconds" .)) 15.0 | ceil | int }}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}
