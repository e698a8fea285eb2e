{{/* Durations as the server reads them: 5s, 1m30s, 0.5h. Numbers stand for seconds in the server's own file. */}}

{{/* Seconds of a duration, as a number in text; empty if it is not one. */}}
{{- define "fleet-server.seconds" -}}
{{- $text := toString . }}
{{- if regexMatch "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$" $text }}
{{- $units := dict "ns" 0.000000001 "us" 0.000001 "µs" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h)" $text -1 }}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" . }}
{{- $sum = addf $sum (mulf (float64 $number) (get $units (trimPrefix $number .))) }}
{{- end }}
{{- $sum }}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+)?$" $text }}
{{- float64 $text }}
{{- end }}
{{- end }}

{{/* Refuses a value that is not a duration with a unit. Takes name, value, example. */}}
{{- define "fleet-server.needsDuration" -}}
{{- $text := toString (default "" .value) }}
{{- if kindIs "float64" .value }}{{ $text = toString .value }}{{ end }}
{{- if kindIs "int64" .value }}{{ $text = toString .value }}{{ end }}
{{- if regexMatch "^-?[0-9]+(\\.[0-9]+)?$" $text }}
{{- fail (printf "%s: %s has no unit. Write %ss for seconds, or %sm for minutes." .name $text (trimPrefix "-" $text) (trimPrefix "-" $text)) }}
{{- else if not (include "fleet-server.seconds" $text) }}
{{- fail (printf "%s: %q is not a duration. Write a number with a unit, for example %s; units are ms, s, m and h." .name $text .example) }}
{{- end }}
{{- end }}
