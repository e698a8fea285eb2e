#!/bin/sh
# The image's bill of materials as CycloneDX JSON: sbom.sh OCI_ARCHIVE OUTPUT
# The base's files come from the archive; the crates from the lock file that the image carries.
set -eu
syft scan --quiet "oci-archive:$1" --source-name fleet-server --select-catalogers +rust-cargo-lock-cataloger \
    --output "cyclonedx-json=$2"
