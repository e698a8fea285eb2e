#!/usr/bin/env bash
# The alert rules: syntax, lint, unit tests; and that the unit tests do notice a changed rule.
set -euo pipefail
cd "$ROOT/deploy/prometheus"
promtool check rules --lint=all --lint-fatal fleet-server.rules.yml | sed 's/^/  /'
promtool test rules fleet-server.rules.test.yml | sed '/^$/d;s/^/  /'

# Each alert has a unit test and a runbook.
mapfile -t alerts < <(sed -n 's/^ *- alert: //p' fleet-server.rules.yml)
for alert in "${alerts[@]}"; do
    grep -q "alertname: $alert$" fleet-server.rules.test.yml || { echo "$alert has no unit test" >&2; exit 1; }
    grep -q "^### $alert$" "$ROOT/docs/OPERATIONS.md" || { echo "$alert has no section in docs/OPERATIONS.md" >&2; exit 1; }
    grep -q "runbook: docs/OPERATIONS.md#${alert,,}$" fleet-server.rules.yml || { echo "$alert names no runbook" >&2; exit 1; }
done

# Each mutant must fail the unit tests.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp fleet-server.rules.test.yml "$work/"
mutants=0
while read -r mutation; do
    sed "$mutation" fleet-server.rules.yml > "$work/fleet-server.rules.yml"
    if cmp -s fleet-server.rules.yml "$work/fleet-server.rules.yml"; then
        echo "the mutation '$mutation' changes nothing" >&2
        exit 1
    fi
    if promtool test rules "$work/fleet-server.rules.test.yml" > /dev/null 2>&1; then
        echo "the unit tests do not notice '$mutation'" >&2
        exit 1
    fi
    mutants=$((mutants + 1))
done << 'MUTATIONS'
s/14 \* 86400/30 * 86400/
s/ 3 \* 86400/ 30 * 86400/
s/{kind="chain"}//
s/for: 2m/for: 20m/
s/mode="poll"/mode="events"/
s/> 0.05/> 0.005/
s/code="429"/code="200"/
s/store_up == 0/store_up == 1/
s/< 0.8 /< 0.5 /
s/degraded|error|updating/degraded|error/g
s/offset 15m) > 10/offset 15m) > 1/
s/status, instance, pod, node/status, pod, node/
s/status, instance, pod, node/status, instance, node/
s/status, instance, pod, node/status, instance, pod/
MUTATIONS
echo "  ${#alerts[@]} alerts, $mutants mutants noticed"
