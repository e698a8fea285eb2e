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

# Two lanes side by side: what looks at files only, and what runs the binary.
FILES=(tools chart yaml checkov prometheus grafana)
BINARY=(systemd configs metrics rotation container deb)

main() {
    local files=() binary=() check failed=0
    export TOOLS PYTHON
    export PATH=$TOOLS/python/bin:$TOOLS/cargo-deb/bin:$TOOLS/prometheus/usr/bin:$PATH
    export HELM_BINARIES=$TOOLS/helm/32/helm:$TOOLS/helm/37/helm
    export CHECKOV=$TOOLS/checkov/bin/checkov
    export FLEET_SERVER=$ROOT/target/release/fleet-server
    local wanted=("$@") build=
    [ $# -gt 0 ] || wanted=("${FILES[@]}" "${BINARY[@]}")
    for check in "${wanted[@]}"; do
        case " ${FILES[*]} | ${BINARY[*]} golden " in
            *" $check "*"|"*) files+=("$check") ;;
            *"|"*" $check "*) binary+=("$check") ;;
            *) echo "there is no check $check; there are: ${FILES[*]} ${BINARY[*]}" >&2; exit 2 ;;
        esac
    done
    # The compiler works while the tools are fetched.
    if [ ${#binary[@]} -gt 0 ] && [ "$*" != golden ]; then
        build_binary &
        build=$!
    fi
    if ! install_tools; then
        echo "deploy-check: FAILED, tools are missing"
        exit 1
    fi
    echo "tools: $SECONDS s"
    if [ "$*" = golden ]; then
        exec "$PYTHON" "$CHECK/chart/test_golden.py" --write
    fi
    mkdir -p "$TOOLS/logs"
    lane "${files[@]}" &
    local files_lane=$!
    if [ -n "$build" ]; then
        wait "$build" && lane "${binary[@]}" || failed=1
    fi
    wait "$files_lane" || failed=1
    if [ "$failed" = 1 ]; then
        echo "deploy-check: FAILED, $SECONDS s"
        exit 1
    fi
    echo "deploy-check: ok, ${#wanted[@]} checks, $SECONDS s"
}

build_binary() {
    local before=$SECONDS
    CARGO='cargo --quiet' make --silent build || return
    echo "binary: $((SECONDS - before)) s"
}

# One check after the other; what a check says is shown when it has ended.
lane() {
    local check before status=0
    for check in "$@"; do
        before=$SECONDS
        if "check_$check" > "$TOOLS/logs/$check.log" 2>&1; then
            printf '== %s: ok, %s s\n%s\n' "$check" "$((SECONDS - before))" "$(cat "$TOOLS/logs/$check.log")"
        else
            printf '== %s: FAILED, %s s\n%s\n' "$check" "$((SECONDS - before))" "$(cat "$TOOLS/logs/$check.log")"
            status=1
        fi
    done
    return "$status"
}

# A Python test file, quiet unless it fails; lines that it prints itself are shown.
python_tests() { "$PYTHON" -W error::SyntaxWarning "$@" 2>&1 | sed '/^\.*$/d'; return "${PIPESTATUS[0]}"; }

check_chart() {
    python_tests "$CHECK/chart/test_matrix.py" && python_tests "$CHECK/chart/test_refusals.py" \
        && python_tests "$CHECK/chart/test_golden.py" && python_tests "$CHECK/chart/test_promises.py"
}
check_tools() { "$CHECK/tools_test.sh"; }
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
