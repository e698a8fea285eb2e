#!/usr/bin/env bash
# The unit: known keys, an executable that exists, and the exposure that systemd computes. systemd-analyze's
# threshold is tenfold; without it the exit code is always 0, as it is for an unknown key without recursive errors.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unit=$scratch/fleet-server.service
source=$ROOT/deploy/systemd

# The unit with drop-ins; credentials with each of its lines uncommented.
place() {
    rm -rf "$unit" "$unit.d"
    sed "s#^ExecStart=/usr/bin/fleet-server#ExecStart=$FLEET_SERVER#" "$source/fleet-server.service" > "$unit"
    mkdir "$unit.d"
    for drop_in in "$@"; do sed 's/^#LoadCredential=/LoadCredential=/' "$source/drop-ins/$drop_in.conf" > "$unit.d/$drop_in.conf"; done
}
verify() { systemd-analyze --man=no --recursive-errors=yes verify "$unit"; }
# Fails above the threshold, and where no score is said.
exposure() {
    local score
    if ! systemd-analyze --no-pager security --offline=yes --threshold="$1" "$unit" > "$scratch/exposure"; then
        tail -1 "$scratch/exposure" >&2
        return 1
    fi
    score=$(sed -n 's/.*exposure level for fleet-server.service: \([0-9.]*\).*/\1/p' "$scratch/exposure")
    if [ -z "$score" ]; then
        echo "systemd-analyze says no score $2" >&2
        return 1
    fi
    echo "  exposure $2: $score"
}

# One command a line: set -e does not stop at what an && is waiting for.
place
verify
exposure 12 "of the unit"
place credentials
[ "$(grep -c '^LoadCredential=' "$unit.d/credentials.conf")" = 2 ] || { echo "credentials.conf has other lines" >&2; exit 1; }
verify
exposure 12 "with both credentials"
place low-port
verify
exposure 15 "with a port below 1024"
place low-port credentials
verify
exposure 15 "with a port below 1024 and both credentials"
# As it is shipped, the drop-in demands no file that is not there.
if grep -n '^LoadCredential' "$source/drop-ins/credentials.conf"; then echo "credentials.conf is to be chosen from" >&2; exit 1; fi

# The sockets, and that they are the listeners of the configuration that is shipped.
cp "$source/fleet-server.socket" "$scratch/fleet-server.socket"
place
systemd-analyze --man=no --recursive-errors=yes verify "$scratch/fleet-server.socket"
sed -n 's/^ListenStream=.*:\([0-9]*\)$/\1/p' "$source/fleet-server.socket" | sort > "$scratch/ports"
{ sed -n 's/^ *port: *\([0-9]*\)$/\1/p' "$source/fleet-server.yml"; echo 8221; } | sort > "$scratch/configured"
diff "$scratch/ports" "$scratch/configured" || { echo "the socket unit and fleet-server.yml have other ports" >&2; exit 1; }

# The checks do refuse.
place
sed -i 's/^UMask=/UMsk=/' "$unit"
if verify 2> /dev/null; then echo "an unknown key passes" >&2; exit 1; fi
place
sed -i 's/^NoNewPrivileges=yes//; s/^ProtectSystem=.*//; s/^CapabilityBoundingSet=$//' "$unit"
if exposure 12 spoilt > /dev/null 2>&1; then echo "an exposed unit passes" >&2; exit 1; fi
systemd-analyze() { echo "nothing to say"; }
if exposure 12 silent > /dev/null 2>&1; then echo "no score passes" >&2; exit 1; fi
unset -f systemd-analyze

# A credential is copied once: certificate and key must not be one.
if grep -rniE '^[# ]*LoadCredential.*\.(crt|key|pem)\b' "$source" | grep -v admin.key; then
    echo "certificate or key as a credential would never reload" >&2
    exit 1
fi
# Longer than the drain of the configuration that is shipped (its default, 10 s).
stop=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s$/\1/p' "$source/fleet-server.service")
[ "$stop" -gt 10 ]

# User and directories.
SYSTEMD_LOG_LEVEL=warning systemd-sysusers --root="$scratch/root" --dry-run "$source/fleet-server.sysusers" 2> /dev/null \
    || { mkdir -p "$scratch/root/etc" && systemd-sysusers --root="$scratch/root" "$source/fleet-server.sysusers"; }
