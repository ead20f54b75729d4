#!/usr/bin/env bash
# What would be published is what a user needs and nothing else: the sources, the front page, the licenses. And whoever packages the same commit
# elsewhere gets the same bytes, so that what is published can be compared with the tag.
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

# Two clones that differ in what no package may depend on: the folder, the times and the permissions of the files.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package() { # folder, umask, time of the files
  (
    umask "$2"
    git clone --quiet --no-hardlinks . "$work/$1"
    find "$work/$1" -path '*/.git' -prune -o -type f -exec touch --date "$3" {} +
    cd "$work/$1"
    CARGO_TARGET_DIR=$work/$1/target cargo package --quiet --no-verify --package palisade
  )
  sum=$(sha256sum "$work/$1"/target/package/palisade-*.crate | cut -d ' ' -f 1)
}
package one 022 2001-01-01
first=$sum
package a/nother 077 2020-02-02
if [ "$first" != "$sum" ]; then
  echo "tests/package.sh: two packages of the same commit differ: $first and $sum" >&2
  exit 1
fi
echo "the same bytes from two clones: sha256 $sum"
