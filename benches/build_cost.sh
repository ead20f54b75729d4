#!/usr/bin/env bash
# What a rate limiter costs to build: crates, and the seconds of a cold debug and release build of a program that depends on it alone, one after
# the other in one run. Sources are fetched before the clock starts. Wants a quiet machine.
#
#   benches/build_cost.sh [ROUNDS]      3 rounds by default; the median is printed
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
here=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Name and dependency. Features are as near to each other as they come: a limiter for axum.
programs=(
  "palisade|palisade = { path = \"$here\", default-features = false, features = [\"axum\", \"rate-limit\"] }"
  "palisade, default features|palisade = { path = \"$here\" }"
  "tower_governor|tower_governor = { version = \"0.8.0\", default-features = false, features = [\"axum\"] }"
  "tower_governor, default features|tower_governor = \"0.8.0\""
  "axum-governor|axum-governor = \"2.1.2\""
)

make() {
  local place=$1 dependency=$2
  mkdir -p "$place/src"
  printf '[package]\nname = "program"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n%s\n' "$dependency" >"$place/Cargo.toml"
  echo 'fn main() {}' >"$place/src/main.rs"
  (cd "$place" && cargo fetch --quiet)
}

# Seconds of one cold build.
build() {
  local began
  rm -rf target
  began=$(date +%s.%N)
  cargo build --quiet --offline "$@"
  echo "$(date +%s.%N) - $began" | bc
}

printf '%-34s %7s %9s %9s\n' depends\ on crates debug/s release/s
for number in "${!programs[@]}"; do
  IFS='|' read -r name dependency <<<"${programs[number]}"
  place=$scratch/$number
  make "$place" "$dependency"
  cd "$place"
  crates=$(cargo tree --offline --edges normal --prefix none | sed 's/ (.*//' | sort -u | grep -vc '^program ')
  for ((round = 0; round < rounds; round++)); do build >>debug; build --release >>release; done
  middle=$(((rounds + 1) / 2))
  printf '%-34s %7d %9.1f %9.1f\n' "$name" "$crates" "$(sort -n debug | sed -n "${middle}p")" "$(sort -n release | sed -n "${middle}p")"
done
