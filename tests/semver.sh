#!/usr/bin/env bash
# Before a release: the version that Cargo.toml says is allowed by what changed since the last one published.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(cargo metadata --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "palisade") | .version')
if [ -z "${SEMVER_BASELINE:-}" ] && [ "$version" = 0.1.0 ]; then
  echo "SKIPPED: $version is the first release, there is nothing to compare it with"
  exit
fi
command -v cargo-semver-checks >/dev/null || cargo install --quiet --locked cargo-semver-checks
# SEMVER_BASELINE is a tag or commit to compare with instead.
cargo semver-checks --package palisade --all-features ${SEMVER_BASELINE:+--baseline-rev "$SEMVER_BASELINE"}
