#!/usr/bin/env bash
# Checks everything under deploy/ without a cluster: run.sh [CHECK…], all of them if none is named.
# It brings its own tools (tools.sh) and uses the release binary; a tool that is missing fails the check.
# `run.sh golden` writes the recorded renderings anew.
set -euo pipefail
CHECK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$CHECK/../.." && pwd)
export CHECK ROOT
cd "$ROOT"
# shellcheck source=tools.sh
. "$CHECK/tools.sh"

ALL=(chart yaml checkov prometheus grafana systemd configs metrics rotation container deb)

main() {
    local started=$SECONDS checks=("$@") failed=() check before
    [ $# -gt 0 ] || checks=("${ALL[@]}")
    export TOOLS PYTHON
    export PATH=$TOOLS/python/bin:$TOOLS/cargo-deb/bin:$TOOLS/prometheus/usr/bin:$PATH
    export HELM_BINARIES=$TOOLS/helm/32/helm:$TOOLS/helm/37/helm
    export CHECKOV=$TOOLS/checkov/bin/checkov
    export FLEET_SERVER=$ROOT/target/release/fleet-server
    if ! install_tools; then
        echo "deploy-check: FAILED, tools are missing"
        exit 1
    fi
    echo "tools: $((SECONDS - started)) s"
    if [ "${checks[*]}" = golden ]; then
        exec "$PYTHON" "$CHECK/chart/test_golden.py" --write
    fi
    # Some checks look at files only.
    if grep -qwE 'systemd|configs|metrics|rotation|container|deb' <<< "${checks[*]}"; then
        before=$SECONDS
        cargo build --release --locked --quiet -p fleet-server
        echo "binary: $((SECONDS - before)) s"
    fi
    for check in "${checks[@]}"; do
        before=$SECONDS
        echo "== $check"
        if "check_$check"; then
            echo "== $check: ok, $((SECONDS - before)) s"
        else
            echo "== $check: FAILED, $((SECONDS - before)) s"
            failed+=("$check")
        fi
    done
    if [ ${#failed[@]} -gt 0 ]; then
        echo "deploy-check: FAILED (${failed[*]}), $((SECONDS - started)) s"
        exit 1
    fi
    echo "deploy-check: ok, ${#checks[@]} checks, $((SECONDS - started)) s"
}

# A Python test file, quiet unless it fails; lines that it prints itself are shown.
python_tests() { "$PYTHON" -W error::SyntaxWarning "$@" 2>&1 | sed '/^\.*$/d'; return "${PIPESTATUS[0]}"; }

check_chart() {
    python_tests "$CHECK/chart/test_matrix.py" && python_tests "$CHECK/chart/test_refusals.py" \
        && python_tests "$CHECK/chart/test_golden.py" && python_tests "$CHECK/chart/test_promises.py"
}
check_yaml() { "$CHECK/yaml.sh"; }
check_checkov() { python_tests "$CHECK/chart/test_checkov.py"; }
check_prometheus() { "$CHECK/prometheus.sh"; }
check_grafana() { python_tests "$CHECK/grafana/test_dashboard.py"; }
check_systemd() { "$CHECK/systemd.sh"; }
check_configs() { python_tests "$CHECK/binary/test_configs.py"; }
check_metrics() { python_tests "$CHECK/binary/test_metrics.py"; }
check_rotation() { python_tests "$CHECK/binary/test_rotation.py"; }
check_container() { "$CHECK/container.sh"; }
check_deb() { "$CHECK/deb.sh"; }

main "$@"
