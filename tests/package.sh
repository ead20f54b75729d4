#!/usr/bin/env bash
# What would be published is what a user needs and nothing else: the sources, the front page, the licenses.
set -euo pipefail
cd "$(dirname "$0")/.."

listed=$(cargo package --list --allow-dirty --package palisade | LC_ALL=C sort)
# The first three are cargo's own.
fixed='.cargo_vcs_info.json
Cargo.lock
Cargo.toml.orig
CHANGELOG.md
Cargo.toml
LICENSE-APACHE
LICENSE-MIT
README.md'
sources=$(git ls-files 'src/*.json' 'src/*.lua' 'src/*.rs' 'src/*.md' 'src/*.svg')
expected=$(printf '%s\n%s\n' "$fixed" "$sources" | LC_ALL=C sort)
if ! difference=$(diff <(echo "$expected") <(echo "$listed")); then
  echo "tests/package.sh: < is missing in the package, > should not be there:" >&2
  echo "$difference" >&2
  exit 1
fi
echo "$(wc -l <<<"$listed") files, as expected"
