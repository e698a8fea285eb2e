#!/usr/bin/env bash
# The Debian package: built, linted, installed in a scratch Debian, started by hand there, upgraded, purged.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "installing into a scratch root needs root" >&2; exit 1; }
work=$(mktemp -d)
machine=$work/machine
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "$*" >&2; exit 1; }
inside() { chroot "$machine" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

"$ROOT/deploy/deb/build.sh" "$work/first" --quiet
"$ROOT/deploy/deb/build.sh" "$work/second" --quiet --fast --deb-version 0.1.1-1
first=$(echo "$work"/first/*.deb)
second=$(echo "$work"/second/*.deb)
lintian --allow-root --fail-on error,warning "$first" | sed 's/^/  lintian: /'

# What is in it.
dpkg-deb -c "$first" > "$work/contents"
for path in usr/bin/fleet-server usr/bin/fleet-load usr/share/man/man1/fleet-load.1.gz etc/fleet-server/fleet-server.yml usr/lib/systemd/system/fleet-server.service \
    usr/lib/systemd/system/fleet-server.socket \
    usr/lib/sysusers.d/fleet-server.conf usr/lib/tmpfiles.d/fleet-server.conf usr/share/man/man1/fleet-server.1.gz \
    usr/share/bash-completion/completions/fleet-server usr/share/zsh/vendor-completions/_fleet-server \
    usr/share/fish/vendor_completions.d/fleet-server.fish usr/share/doc/fleet-server/copyright; do
    grep -qE " \./(usr/)?${path#usr/}$" "$work/contents" || fail "the package lacks $path"
done
dpkg-deb --ctrl-tarfile "$first" | tar xO ./conffiles | grep -qx /etc/fleet-server/fleet-server.yml || fail "the configuration is not a conffile"

# A machine, without its services running.
mkdir "$machine"
tar xf "$TOOLS/debian-root.tar" -C "$machine" --exclude=./dev
mkdir -p "$machine/dev"
mknod -m 0666 "$machine/dev/null" c 1 3
printf '127.0.0.1 localhost\n' > "$machine/etc/hosts"
cp "$first" "$machine/first.deb"
cp "$second" "$machine/second.deb"

inside dpkg -i /first.deb > "$work/install" 2>&1 || { tail -20 "$work/install" >&2; fail "the package does not install"; }
grep -q 'installed and not started' "$work/install" || fail "the installation does not say what to do next"
inside getent passwd fleet-server | grep -q ':/var/lib/fleet-server:' || fail "there is no user fleet-server"
[ "$(inside stat -c '%U:%G %a' /etc/fleet-server)" = "root:fleet-server 750" ] || fail "/etc/fleet-server has other owners"
[ "$(inside stat -c '%U:%G %a' /etc/fleet-server/tls)" = "root:fleet-server 750" ] || fail "/etc/fleet-server/tls has other owners"
[ "$(inside stat -c '%U:%G %a' /etc/fleet-server/credentials)" = "root:root 700" ] || fail "/etc/fleet-server/credentials has other owners"
[ "$(inside stat -c '%U:%G %a' /etc/fleet-server/fleet-server.yml)" = "root:fleet-server 640" ] || fail "the configuration has other owners"
[ ! -e "$machine/etc/systemd/system/multi-user.target.wants/fleet-server.service" ] || fail "the service is enabled"
[ ! -e "$machine/etc/systemd/system/sockets.target.wants/fleet-server.socket" ] || fail "the sockets are enabled"
# Here the program exists: the unit is verified as it is installed.
inside systemd-analyze --man=no --recursive-errors=yes verify fleet-server.service fleet-server.socket || fail "the installed unit is not good"
inside fleet-load --help > "$work/help" 2>&1 || { cat "$work/help" >&2; fail "the installed fleet-load does not start"; }
echo "  installed: $(inside dpkg-query -W fleet-server | tr '\t' ' '), $(stat -c %s "$first" | awk '{printf "%.1f MB", $1 / 1e6}')"

# Started by hand as the unit would: its user, its directories, the shipped configuration, free ports.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout "$machine/etc/fleet-server/tls/tls.key" \
    -out "$machine/etc/fleet-server/tls/tls.crt" 2> /dev/null
chmod 0640 "$machine"/etc/fleet-server/tls/tls.*
inside chgrp fleet-server /etc/fleet-server/tls/tls.crt /etc/fleet-server/tls/tls.key
inside install -d -o fleet-server -g fleet-server -m 0700 /var/lib/fleet-server
inside install -d -o fleet-server -g fleet-server -m 0750 /var/log/fleet-server
read -r agents internal admin http < <("$PYTHON" -c 'import sys; sys.path.insert(0, sys.argv[1])
from chart_server import free_ports; print(*free_ports(4))' "$CHECK/binary")
start_by_hand() {
    chroot --userspec=fleet-server:fleet-server "$machine" /usr/bin/env -i -C /var/lib/fleet-server PATH=/usr/bin:/bin \
        /usr/bin/fleet-server -c /etc/fleet-server/fleet-server.yml -E inputs.0.server.host=127.0.0.1 \
        -E inputs.0.server.port="$agents" -E inputs.0.server.internal_port="$internal" -E admin.port="$admin" \
        -E http.port="$http" > "$work/server" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        if inside fleet-server status --insecure --url "https://localhost:$agents" > "$work/status" 2>&1; then break; fi
        kill -0 "$server" 2> /dev/null || { tail -5 "$work/server" >&2; fail "the installed server ended"; }
        sleep 0.3
    done
    grep -q '^HEALTHY' "$work/status" || { cat "$work/status" "$work/server" >&2; fail "the installed server is not healthy"; }
}
stop_by_hand() {
    kill -TERM "$server"
    wait "$server" || fail "the installed server did not end with 0"
    server=
}
start_by_hand
stop_by_hand
token=$(cat "$machine/var/lib/fleet-server/enrollment_token")
ls "$machine"/var/log/fleet-server/fleet-server-*.ndjson > /dev/null || fail "no log file in /var/log/fleet-server"

# Upgraded: an edited configuration and the store stay.
printf '\n# edited by the operator\n' >> "$machine/etc/fleet-server/fleet-server.yml"
inside dpkg --force-confold -i /second.deb > "$work/upgrade" 2>&1 || { tail -20 "$work/upgrade" >&2; fail "the upgrade fails"; }
inside dpkg-query -W -f='${Version}\n' fleet-server | grep -qx 0.1.1-1 || fail "the upgrade did not happen"
grep -q 'edited by the operator' "$machine/etc/fleet-server/fleet-server.yml" || fail "the upgrade replaced an edited configuration"
start_by_hand
stop_by_hand
[ "$(cat "$machine/var/lib/fleet-server/enrollment_token")" = "$token" ] || fail "the upgrade lost the store"

# Removed: the configuration stays. Purged: it goes, and the store still stays.
inside dpkg -r fleet-server > /dev/null 2>&1
[ -e "$machine/etc/fleet-server/fleet-server.yml" ] || fail "removing took the configuration away"
inside rm -r /etc/fleet-server/tls/tls.crt /etc/fleet-server/tls/tls.key
inside dpkg -P fleet-server > "$work/purge" 2>&1 || { tail -20 "$work/purge" >&2; fail "purging fails"; }
[ ! -e "$machine/etc/fleet-server" ] || fail "purging left /etc/fleet-server: $(ls "$machine/etc/fleet-server")"
[ ! -e "$machine/var/log/fleet-server" ] || fail "purging left the logs"
[ -e "$machine/var/lib/fleet-server/fleet.db" ] || fail "purging took the store away"
grep -q 'is kept' "$work/purge" || fail "purging does not say that the store is kept"
echo "  started by hand, upgraded with an edited configuration, removed, purged; the store is kept"
