#!/usr/bin/env bash
# The public interface is the one in tests/public-api.txt, so that no change of it goes unseen.
#
#   tests/public_api.sh           compares, and fails where they differ
#   tests/public_api.sh --bless   writes the interface as it is
#
# It needs a nightly toolchain, for the JSON of rustdoc, and installs cargo-public-api if that is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
snapshot=tests/public-api.txt

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "SKIPPED: no nightly toolchain, so $snapshot was NOT compared"
  exit
fi
command -v cargo-public-api >/dev/null || cargo install --quiet --locked cargo-public-api
# Blanket, automatic and derived implementations say little and change with the compiler.
current=$(cargo +nightly public-api --package palisade --all-features --simplified --simplified --simplified --color never)
[ -n "$current" ]
if [ "${1:-}" = --bless ]; then
  echo "$current" >"$snapshot"
  exit
fi
if ! difference=$(diff "$snapshot" - <<<"$current"); then
  echo "tests/public_api.sh: the interface differs from $snapshot (< there, > here); if it is meant, tests/public_api.sh --bless:" >&2
  echo "$difference" >&2
  exit 1
fi
echo "$(wc -l <"$snapshot") items, as in $snapshot"
