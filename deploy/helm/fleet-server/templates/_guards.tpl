{{/*
What a schema cannot say with a remedy. Each message: the value's name, what is wrong, what to write instead.
The schema is loose where a message of ours is better.
*/}}
{{- define "fleet-server.guards" -}}
{{- include "fleet-server.guards.replicas" . }}
{{- include "fleet-server.guards.tls" . }}
{{- include "fleet-server.guards.image" . }}
{{- include "fleet-server.guards.store" . }}
{{- include "fleet-server.guards.clientAuth" . }}
{{- include "fleet-server.guards.reload" . }}
{{- include "fleet-server.guards.config" . }}
{{- include "fleet-server.guards.stop" . }}
{{- include "fleet-server.guards.service" . }}
{{- include "fleet-server.guards.routes" . }}
{{- include "fleet-server.guards.names" . }}
{{- include "fleet-server.guards.secrets" . }}
{{- include "fleet-server.guards.ownLabels" . }}
{{- end }}

{{- define "fleet-server.guards.replicas" -}}
{{- if ne (int .Values.replicaCount) 1 }}
{{- fail (printf "replicaCount: %d is refused. The embedded store belongs to one process, so there is exactly one replica; set replicaCount to 1. Give the one pod more with `resources`." (int .Values.replicaCount)) }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.tls" -}}
{{- $tls := .Values.tls }}
{{- if not (has $tls.mode (list "existingSecret" "certManager" "selfSigned")) }}
{{- fail (printf "tls.mode: %q is unknown. Set existingSecret, certManager, or selfSigned (for a first try only)." $tls.mode) }}
{{- end }}
{{- $cm := $tls.certManager }}
{{- $given := list }}
{{- if or $cm.issuerRef.name $cm.issuerRef.kind $cm.issuerRef.group }}{{ $given = append $given "issuerRef" }}{{ end }}
{{- range $key := list "dnsNames" "duration" "renewBefore" "privateKey" }}
{{- if get $cm $key }}{{ $given = append $given $key }}{{ end }}
{{- end }}
{{- if and (ne $tls.mode "certManager") $given }}
{{- fail (printf "tls.certManager.%s is set, but tls.mode is %s, where it has no effect. Set tls.mode to certManager, or remove tls.certManager." (join ", tls.certManager." $given) $tls.mode) }}
{{- end }}
{{- if and (ne $tls.mode "existingSecret") $tls.existingSecret.name }}
{{- fail (printf "tls.existingSecret.name is set, but tls.mode is %s, which has a Secret of its own. Set tls.mode to existingSecret, or remove tls.existingSecret.name." $tls.mode) }}
{{- end }}
{{- if and (ne $tls.mode "existingSecret") $tls.existingSecret.passphraseKey }}
{{- fail (printf "tls.existingSecret.passphraseKey is set, but tls.mode is %s. Set tls.mode to existingSecret, or remove it." $tls.mode) }}
{{- end }}
{{- if eq $tls.mode "existingSecret" }}
{{- if not $tls.existingSecret.name }}
{{- fail "tls.existingSecret.name: is empty. Name the Secret that holds certificate and key (kubectl create secret tls NAME --cert=… --key=…), or set tls.mode to certManager, or to selfSigned for a first try." }}
{{- end }}
{{- if not $tls.existingSecret.certificateKey }}
{{- fail (printf "tls.existingSecret.certificateKey: is empty. Name the key of Secret %s that holds the certificate chain, usually tls.crt." $tls.existingSecret.name) }}
{{- end }}
{{- if not $tls.existingSecret.privateKeyKey }}
{{- fail (printf "tls.existingSecret.privateKeyKey: is empty. Name the key of Secret %s that holds the private key, usually tls.key." $tls.existingSecret.name) }}
{{- end }}
{{- range $field := list "certificateKey" "privateKeyKey" "passphraseKey" }}
{{- include "fleet-server.needsSecretKey" (dict "name" (printf "tls.existingSecret.%s" $field) "value" (get $tls.existingSecret $field)) }}
{{- end }}
{{- end }}
{{- if eq $tls.mode "certManager" }}
{{- if not $cm.issuerRef.name }}
{{- fail "tls.certManager.issuerRef.name: is empty. Name the Issuer or ClusterIssuer (then with tls.certManager.issuerRef.kind: ClusterIssuer) that signs the certificate." }}
{{- end }}
{{- range $field := list "duration" "renewBefore" }}
{{- if get $cm $field }}
{{- include "fleet-server.needsDuration" (dict "name" (printf "tls.certManager.%s" $field) "value" (get $cm $field) "example" "2160h") }}
{{- end }}
{{- end }}
{{- if and $cm.duration (lt (float64 (include "fleet-server.seconds" $cm.duration)) 3600.0) }}
{{- fail (printf "tls.certManager.duration: %s is below the hour that cert-manager demands. Write 1h or more." $cm.duration) }}
{{- end }}
{{- if and $cm.duration $cm.renewBefore (ge (float64 (include "fleet-server.seconds" $cm.renewBefore)) (float64 (include "fleet-server.seconds" $cm.duration))) }}
{{- fail (printf "tls.certManager.renewBefore: %s is not shorter than tls.certManager.duration (%s). Write about a third of it." $cm.renewBefore $cm.duration) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.image" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository: is empty. Name where you pushed the image that deploy/container builds, for example registry.example/fleet-server." }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.store" -}}
{{- if and .Values.store.persistence.existingClaim (not .Values.store.persistence.enabled) }}
{{- fail (printf "store.persistence.existingClaim is set, but store.persistence.enabled is false, where the store is lost with the pod. Set enabled to true to use claim %s, or remove existingClaim." .Values.store.persistence.existingClaim) }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.clientAuth" -}}
{{- $auth := .Values.tls.clientAuth }}
{{- if not (has $auth.mode (list "none" "optional" "required")) }}
{{- fail (printf "tls.clientAuth.mode: %q is unknown. Set none, optional or required." $auth.mode) }}
{{- end }}
{{- if and (ne $auth.mode "none") (not $auth.caSecret) }}
{{- fail (printf "tls.clientAuth.caSecret: is empty, but tls.clientAuth.mode is %s. Name the Secret with the CAs that sign agents' certificates, or set the mode to none." $auth.mode) }}
{{- end }}
{{- if and (eq $auth.mode "none") $auth.caSecret }}
{{- fail "tls.clientAuth.caSecret is set, but tls.clientAuth.mode is none, where no client certificate is asked for. Set the mode to optional or required, or remove caSecret." }}
{{- end }}
{{- if and $auth.crlSecret (not $auth.caSecret) }}
{{- fail "tls.clientAuth.crlSecret is set without tls.clientAuth.caSecret. A revocation list needs the CA that issued it: set both, or neither." }}
{{- end }}
{{- include "fleet-server.needsSecretKey" (dict "name" "tls.clientAuth.caSecretKey" "value" (ternary $auth.caSecretKey "-" (ne $auth.caSecret "")) "required" true) }}
{{- include "fleet-server.needsSecretKey" (dict "name" "tls.clientAuth.crlSecretKey" "value" (ternary $auth.crlSecretKey "-" (ne $auth.crlSecret "")) "required" true) }}
{{- end }}

{{- define "fleet-server.guards.reload" -}}
{{- $reload := .Values.tls.reload }}
{{- include "fleet-server.needsDuration" (dict "name" "tls.reload.debounce" "value" $reload.debounce "example" "5s") }}
{{- include "fleet-server.needsDuration" (dict "name" "tls.reload.reloadInterval" "value" $reload.reloadInterval "example" "5s") }}
{{- if gt (float64 (include "fleet-server.seconds" $reload.debounce)) 600.0 }}
{{- fail (printf "tls.reload.debounce: %s is more than the ten minutes that the server accepts. Write 10m or less." $reload.debounce) }}
{{- end }}
{{- $interval := float64 (include "fleet-server.seconds" $reload.reloadInterval) }}
{{- if gt $interval 86400.0 }}
{{- fail (printf "tls.reload.reloadInterval: %s is more than the day that the server accepts. Write 24h or less." $reload.reloadInterval) }}
{{- end }}
{{- if and (gt $interval 0.0) (lt $interval 1.0) }}
{{- fail (printf "tls.reload.reloadInterval: %s is less than the second that the server accepts. Write 1s or more, or 0s to rely on file events alone." $reload.reloadInterval) }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.stop" -}}
{{- $drain := float64 (include "fleet-server.drainSeconds" .) }}
{{- $least := addf (float64 .Values.preStopSeconds) $drain }}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- else if le (float64 .Values.terminationGracePeriodSeconds) $least }}
{{- fail (printf "terminationGracePeriodSeconds: %d is not more than preStopSeconds (%d) and server.timeouts.drain (%v) together, so the server would be killed while it drains. Write more than %v, or null." (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) $drain $least) }}
{{- end }}
{{- end }}

{{/* The API server refuses these, or drops them, without a word of the value's name. */}}
{{- define "fleet-server.guards.service" -}}
{{- if and .Values.service.nodePort (eq .Values.service.type "ClusterIP") }}
{{- fail "service.nodePort is set, but service.type is ClusterIP. Set service.type to NodePort or LoadBalancer, or remove service.nodePort." }}
{{- end }}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") }}
{{- fail "service.externalTrafficPolicy is set, but service.type is ClusterIP. Set service.type to LoadBalancer or NodePort, or remove service.externalTrafficPolicy." }}
{{- end }}
{{- range $field := list "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if and (get $.Values.service $field) (ne $.Values.service.type "LoadBalancer") }}
{{- fail (printf "service.%s is set, but service.type is %s. Set service.type to LoadBalancer, or remove service.%s (networkPolicy.agents.from limits who connects)." $field $.Values.service.type $field) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.routes" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: is empty. TLS pass-through chooses the server by the host name in the handshake: name at least one host." }}
{{- end }}
{{- if and .Values.tlsRoute.enabled (not .Values.tlsRoute.parentRefs) }}
{{- fail "tlsRoute.parentRefs: is empty. Name the Gateway (and its listener with tls.mode Passthrough), for example [{name: my-gateway, sectionName: agents}]." }}
{{- end }}
{{- if and .Values.tlsRoute.enabled (not .Values.tlsRoute.hostnames) }}
{{- fail "tlsRoute.hostnames: is empty. TLS pass-through chooses the server by the host name in the handshake: name at least one." }}
{{- end }}
{{- if has (int .Values.http.port) (list 8220 8221 8222) }}
{{- fail (printf "http.port: %d is the port of another listener in the pod. Choose another, for example 5066." (int .Values.http.port)) }}
{{- end }}
{{- end }}

{{/* Agents check the certificate against the name that they connect to, also behind a route: TLS is passed through. */}}
{{- define "fleet-server.guards.names" -}}
{{- $chosen := fromJsonArray (include "fleet-server.chosenNames" .) }}
{{- $routes := fromJsonArray (include "fleet-server.routeNames" .) }}
{{- if $chosen }}
{{- range $name := $routes }}
{{- $wildcard := regexReplaceAll "^[^.]*\\." $name "*." }}
{{- if not (or (has $name $chosen) (has $wildcard $chosen)) }}
{{- fail (printf "tls.certManager.dnsNames: lacks %s of ingress.hosts or tlsRoute.hostnames, so agents would refuse the certificate there. Add it, or leave dnsNames empty for all names of the routes and the Service." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $told := ternary $routes $chosen (gt (len $routes) 0) }}
{{- if and $told (not .Values.bootstrap.fleetHosts) (not (include "fleet-server.firstName" (toJson $told))) }}
{{- fail (printf "bootstrap.fleetHosts: is empty, and the only names are wildcards (%s), which no agent can connect to. Name the URL that agents use." (join ", " $told)) }}
{{- end }}
{{- end }}

{{- define "fleet-server.guards.secrets" -}}
{{- range .Values.extraEnv }}
{{- if eq .name "POD_IP" }}
{{- fail "extraEnv: POD_IP is set by the chart (http.host needs it). Choose another name." }}
{{- end }}
{{- end }}
{{- if and .Values.admin.apiKey.existingSecret (not .Values.admin.enabled) }}
{{- fail "admin.apiKey.existingSecret is set, but admin.enabled is false. Enable the admin API, or remove the Secret." }}
{{- end }}
{{- if and .Values.bootstrap.enrollmentToken.existingSecret (not .Values.bootstrap.enabled) }}
{{- fail "bootstrap.enrollmentToken.existingSecret is set, but bootstrap.enabled is false. Set bootstrap.enabled to true, or remove the Secret." }}
{{- end }}
{{- include "fleet-server.needsSecretKey" (dict "name" "admin.apiKey.key" "value" (ternary .Values.admin.apiKey.key "-" (ne .Values.admin.apiKey.existingSecret "")) "required" true) }}
{{- include "fleet-server.needsSecretKey" (dict "name" "bootstrap.enrollmentToken.key" "value" (ternary .Values.bootstrap.enrollmentToken.key "-" (ne .Values.bootstrap.enrollmentToken.existingSecret "")) "required" true) }}
{{- end }}

{{/* A label twice in one object: the last one wins, and the selectors would find nothing. */}}
{{- define "fleet-server.guards.ownLabels" -}}
{{- $labels := fromYaml (include "fleet-server.labels" .) }}
{{- $pod := fromYaml (include "fleet-server.selector" .) }}
{{- range $own := list
  (dict "name" "podLabels" "given" .Values.podLabels "keys" $pod)
  (dict "name" "podAnnotations" "given" .Values.podAnnotations "keys" (dict "checksum/config" ""))
  (dict "name" "monitoring.serviceMonitor.labels" "given" .Values.monitoring.serviceMonitor.labels "keys" $labels)
  (dict "name" "monitoring.prometheusRule.labels" "given" .Values.monitoring.prometheusRule.labels "keys" $labels) }}
{{- range $key := keys $own.keys }}
{{- if hasKey (default dict $own.given) $key }}
{{- fail (printf "%s: %s is set by the chart, and would stand there twice. Remove it." $own.name $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The key of a Secret is a file name in the pod. Takes name, value, required. */}}
{{- define "fleet-server.needsSecretKey" -}}
{{- if and .required (not .value) }}
{{- fail (printf "%s: is empty. Name the key of the Secret." .name) }}
{{- end }}
{{- if and .value (not (regexMatch "^[-._a-zA-Z0-9]+$" .value)) }}
{{- fail (printf "%s: %q is not a key of a Secret. Letters, digits, '-', '_' and '.' are allowed." .name .value) }}
{{- end }}
{{- end }}
