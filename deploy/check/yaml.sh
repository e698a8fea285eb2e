#!/usr/bin/env bash
# yamllint over every rendering and every YAML file of deploy/ that is not a template.
set -euo pipefail
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
# Helm 3's text: Helm 4 puts an empty line between documents, which says nothing about the chart.
helm=${HELM_BINARIES%%:*}
count=0
for values in "$CHECK"/chart/values/*.yaml; do
    "$helm" template fleet "$ROOT/deploy/helm/fleet-server" --namespace agents --values "$values" > "$rendered/$(basename "$values")"
    count=$((count + 1))
done
mapfile -t files < <(find "$ROOT/deploy" \( -name '*.yaml' -o -name '*.yml' \) -not -path '*/templates/*')
yamllint --strict -c "$CHECK/yamllint.yaml" "$rendered" "${files[@]}"
echo "  $count renderings and ${#files[@]} files"
# A check that cannot fail is useless.
printf 'a: 1\na: 2\n' > "$rendered/spoilt.yaml"
if yamllint --strict -c "$CHECK/yamllint.yaml" "$rendered/spoilt.yaml" > /dev/null; then
    echo "yamllint accepts a duplicate key" >&2
    exit 1
fi
