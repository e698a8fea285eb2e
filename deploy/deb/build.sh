#!/bin/sh
# Builds the Debian package from the release binary: deb/build.sh OUTPUT_DIRECTORY [further arguments of cargo-deb].
# Man pages and completions are written by the binary itself, so they cannot differ from it.
set -eu
cd "$(dirname "$0")/../.."
output=$1
shift
binary=target/release/fleet-server
extra=target/package
rm -rf "$extra"
mkdir -p "$extra/man" "$extra/completions" "$output"
"$binary" man "$extra/man"
"${binary%server}load" man "$extra/man"
"$binary" completions bash > "$extra/completions/fleet-server"
"$binary" completions zsh > "$extra/completions/_fleet-server"
"$binary" completions fish > "$extra/completions/fleet-server.fish"
cargo deb --locked --no-build --package fleet-server --output "$output" "$@"
