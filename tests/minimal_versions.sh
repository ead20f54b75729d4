#!/usr/bin/env bash
# The library builds with the oldest versions that Cargo.toml allows of what it depends on: a bound that is too low breaks somebody's build.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "SKIPPED: no nightly toolchain, so the minimal versions were NOT built"
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy: the lock file of the repository stays as it is. Dev-dependencies have bounds of their own, which are nobody's concern.
git ls-files -z Cargo.toml src README.md CHANGELOG.md | xargs -0 cp --parents --target-directory "$work"
python3 - "$work/Cargo.toml" <<'PY'
import re, sys
path = sys.argv[1]
text = open(path).read()
text = re.sub(r"(?ms)^\[dev-dependencies\]\n.*?(?=^\[)", "", text)
text = re.sub(r"(?ms)^\[\[(bench|example|test)\]\]\n.*?(?=^\[)", "", text)
text = re.sub(r"(?m)^(members|default-members|exclude) = .*\n", "", text)
open(path, "w").write(text)
PY
target=${CARGO_TARGET_DIR:-$PWD/target/minimal-versions}
cd "$work"
cargo +nightly update --quiet -Z direct-minimal-versions
CARGO_TARGET_DIR=$target cargo check --quiet --package palisade --all-features
echo "builds with the oldest direct dependencies"
