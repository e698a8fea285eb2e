#!/usr/bin/env bash
# The image: linted, built with buildah on bases made here (no registry is asked), run as its user on a read-only
# root as far as chroot isolation can, asked for its status by its own health check, stopped, and listed (SBOM).
set -euo pipefail
work=$(mktemp -d)
agents=
# The server's own process: the runner does not pass signals on.
find_server() {
    local path
    for path in /proc/[0-9]*; do
        if { tr '\0' '\n' < "$path/cmdline"; } 2> /dev/null | awk -v port="inputs.0.server.port=$agents" \
            'NR == 1 && !/(^|\/)fleet-server$/ {exit} $0 == port {found = 1} END {exit !found}'; then
            basename "$path"
        fi
    done
}
cleanup() {
    local pid
    if [ -n "$agents" ]; then
        for pid in $(find_server); do kill "$pid" 2> /dev/null || true; done
    fi
    wait 2> /dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
containerfile=$ROOT/deploy/container/Containerfile
fail() { echo "$*" >&2; exit 1; }

# Lint. checkov does not know the name Containerfile and would check nothing, with exit code 0.
hadolint "$containerfile"
cp "$containerfile" "$work/image.Dockerfile"
"$CHECKOV" --file "$work/image.Dockerfile" --framework dockerfile --compact --quiet --skip-download > "$work/checkov" 2>&1 \
    || { cat "$work/checkov" >&2; exit 1; }
passed=$(sed -n 's/^Passed checks: \([0-9]*\), Failed checks: 0, Skipped checks: 1$/\1/p' "$work/checkov")
[ "${passed:-0}" -gt 20 ] || { cat "$work/checkov" >&2; fail "checkov checked nothing"; }
echo "  checkov: $passed passed, 1 skipped with its reason in the Containerfile"
if printf 'FROM debian\nRUN cd /tmp && sudo ls\n' | hadolint - > /dev/null; then fail "hadolint accepts anything"; fi

# One version everywhere.
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
grep -q "^ARG VERSION=$version$" "$containerfile" || fail "Containerfile: VERSION is not the workspace's $version"
grep -q "^appVersion: \"$version\"$" "$ROOT/deploy/helm/fleet-server/Chart.yaml" || fail "Chart.yaml: appVersion is not $version"
grep -q "image: fleet-server:$version$" "$ROOT/deploy/container/compose.yaml" || fail "compose.yaml: the image is not $version"

# Two bases: a small Debian to build with, and what the binary is linked to, as a distroless image has it.
run_buildah() { STORAGE_DRIVER=vfs buildah --root "$work/storage" --runroot "$work/run" "$@"; }
build() { run_buildah bud --quiet --isolation chroot --format docker "$@" > "$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; exit 1; }; }
mkdir -p "$work/debian" "$work/base/etc" "$work/context/bin"
ln "$TOOLS/debian-root.tar" "$work/debian/root.tar" 2> /dev/null || cp "$TOOLS/debian-root.tar" "$work/debian/root.tar"
printf 'FROM scratch\nADD root.tar /\n' > "$work/debian/Containerfile"
ldd "$FLEET_SERVER" | grep -oE '/[^ ]+' | while read -r library; do
    install -D -m 0755 "$(realpath "$library")" "$work/base$library"
done
for module in files dns; do
    library=$(ldconfig -p | sed -n "s#.*=> \(.*/libnss_$module.so.2\)\$#\1#p" | head -1)
    [ -z "$library" ] || install -D -m 0755 "$(realpath "$library")" "$work/base$library"
done
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' > "$work/base/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' > "$work/base/etc/group"
printf 'hosts: files dns\n' > "$work/base/etc/nsswitch.conf"
mkdir -m 1777 "$work/base/tmp"
printf 'FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin:/usr/bin\n' > "$work/Containerfile.base"
build -t localhost/build "$work/debian"
build -t localhost/base -f "$work/Containerfile.base" "$work/base"

cp "$FLEET_SERVER" "${FLEET_SERVER%server}load" "$work/context/bin/"
cp "$ROOT/LICENSE" "$ROOT/fleet-server.reference.yml" "$ROOT/Cargo.lock" "$ROOT/.dockerignore" "$work/context/"
build -t localhost/fleet-server --build-arg BUILD_IMAGE=localhost/build --build-arg BASE_IMAGE=localhost/base \
    --build-arg PREBUILT=true -f "$containerfile" "$work/context"

# What the image says of itself.
run_buildah inspect --type image localhost/fleet-server > "$work/inspect.json"
"$PYTHON" - "$work/inspect.json" << 'INSPECT'
import json, sys
config = json.load(open(sys.argv[1]))["Docker"]["config"]
assert config["User"] == "65532:65532", config["User"]
assert config["Entrypoint"] == ["fleet-server"], config["Entrypoint"]
assert config["Healthcheck"]["Test"][:3] == ["CMD", "fleet-server", "status"], config["Healthcheck"]
assert set(config["ExposedPorts"]) == {"8220/tcp", "8222/tcp", "5066/tcp"}, config["ExposedPorts"]
assert "/var/lib/fleet-server" in config["Volumes"], config["Volumes"]
assert config["StopSignal"] in ("SIGTERM", "15"), config["StopSignal"]
assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
INSPECT

# Run it as compose.yaml says: its instructions (but for compose itself, which is not here), mounts, user, command. The
# ports are free ones: chroot isolation has the host's network.
compose=$work/compose
cp -r "$ROOT/deploy/container" "$compose"
rm -rf "$compose/certs"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout "$compose/key.pem" -out "$compose/chain.pem" 2> /dev/null
sed -n '/^services:/q; s/^#   //p' "$compose/compose.yaml" > "$work/instructions"
grep -qx 'docker compose up -d' "$work/instructions" || fail "compose.yaml does not say how it is started"
(cd "$compose" && grep -v '^docker ' "$work/instructions" | bash -euo pipefail) || fail "the instructions of compose.yaml fail"
mkdir "$work/data"
chown 65532:65532 "$work/data"
chmod 0755 "$work"
mapfile -t options < <("$PYTHON" "$CHECK/compose.py" options "$compose" "$work/data" "$work/inspect.json")
mapfile -t arguments < <("$PYTHON" "$CHECK/compose.py" command "$compose")
[ ${#options[@]} -gt 6 ] && [ ${#arguments[@]} -gt 0 ] || fail "compose.yaml is not understood"
read -r agents internal admin http < <("$PYTHON" -c 'import sys; sys.path.insert(0, sys.argv[1])
from chart_server import free_ports; print(*free_ports(4))' "$CHECK/binary")
container=$(run_buildah from localhost/fleet-server)
in_container() {
    run_buildah run --isolation chroot "${options[@]}" "$container" -- "$@"
}
in_container fleet-server "${arguments[@]}" -E inputs.0.server.port="$agents" \
    -E inputs.0.server.internal_port="$internal" -E admin.port="$admin" -E http.port="$http" \
    -E inputs.0.server.host=127.0.0.1 -E admin.host=127.0.0.1 -E http.host=127.0.0.1 > "$work/log" 2>&1 &
runner=$!
for _ in $(seq 100); do
    if in_container fleet-server status --insecure --url "https://localhost:$agents" > "$work/status" 2>&1; then break; fi
    kill -0 "$runner" 2> /dev/null || { tail -5 "$work/log" >&2; fail "the server in the image ended"; }
    sleep 0.3
done
grep -q '^HEALTHY' "$work/status" || { cat "$work/status" "$work/log" >&2; fail "the image's health check is not satisfied"; }
sed 's/^/  status: /' "$work/status"
in_container fleet-load --help > "$work/help" 2>&1 || { cat "$work/help" >&2; fail "fleet-load in the image does not start"; }
# A renewal as compose.yaml promises it: replaced in certs/, served some seconds later.
served() { sed -n 's/^certificate sha256=\([0-9a-f]*\).*/\1/p' "$work/status"; }
before=$(served)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout "$compose/key.pem" -out "$compose/chain.pem" 2> /dev/null
(cd "$compose" && grep -v '^docker ' "$work/instructions" | bash -euo pipefail)
for _ in $(seq 60); do
    in_container fleet-server status --insecure --url "https://localhost:$agents" > "$work/status" 2>&1 || true
    [ "$(served)" = "$before" ] || break
    sleep 0.5
done
[ -n "$before" ] && [ -n "$(served)" ] && [ "$(served)" != "$before" ] || fail "the certificate replaced in certs/ is not served"
echo "  compose.yaml: its instructions, mounts, user and command; a certificate replaced in certs/ is served"
server=$(find_server)
[ -n "$server" ] || fail "the server's process is not found"
[ "$(stat -c %u "/proc/$server")" = 65532 ] || fail "the server does not run as 65532"
kill -TERM "$server"
wait "$runner" || fail "the server in the image did not end with 0"

# The bill of materials, and the size.
run_buildah push --quiet localhost/fleet-server "oci-archive:$work/image.tar" > /dev/null
"$ROOT/deploy/container/sbom.sh" "$work/image.tar" "$work/sbom.json"
"$PYTHON" - "$work/sbom.json" "$ROOT/Cargo.lock" << 'SBOM'
import json, re, sys
bill = json.load(open(sys.argv[1]))
assert bill["bomFormat"] == "CycloneDX", bill["bomFormat"]
listed = {(c["name"], c.get("version")) for c in bill["components"]}
locked = set(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', open(sys.argv[2]).read()))
missing = locked - listed
assert not missing, f"not in the bill: {sorted(missing)[:5]}"
print(f"  SBOM: CycloneDX {bill['specVersion']}, {len(bill['components'])} components, all {len(locked)} crates of the lock file")
SBOM
mkdir -p "$TOOLS/results"
cp "$work/sbom.json" "$TOOLS/results/fleet-server.cdx.json"
size=$(run_buildah images --format '{{.Size}}' localhost/fleet-server)
base=$(run_buildah images --format '{{.Size}}' localhost/base)
echo "  image: $size on a base of $base; compressed archive $(gzip -c "$work/image.tar" | wc -c | awk '{printf "%.1f MB", $1 / 1e6}')"
echo "  not run: the Containerfile's own build (PREBUILT=true takes the binary at hand), compose, a read-only root"
