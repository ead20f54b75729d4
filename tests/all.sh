#!/usr/bin/env bash
# The one test command: installs what the tests need, then runs everything.
#
#   tests/all.sh           everything
#   tests/all.sh --quick   the cargo tests alone, with all features
#   tests/all.sh --long    everything, then what takes long: every pair of features, the oldest dependencies, the public interface, the seeds of
#                          the fuzz targets under the sanitizer, and a soak of two minutes (PALISADE_SOAK=600 makes it ten)
#   tests/all.sh --fuzz    every fuzz target for a minute (FUZZ_SECONDS=600 makes it ten), beginning with tests/fuzz/seeds
#
# The last two need the nightly toolchain for some of it, and install cargo-fuzz, cargo-hack and cargo-public-api if they are missing.
#
# It wants a Debian machine with Rust. As root it installs the Debian packages it misses; otherwise it names them and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=false
fuzz=false
long=false
for arg in "$@"; do
  case "$arg" in
    --fuzz) fuzz=true ;;
    --long) long=true ;;
    --quick) quick=true ;;
    *) echo "tests/all.sh: unknown option $arg: allowed are --fuzz, --long, --quick" >&2; exit 2 ;;
  esac
done

# Commands the tests call, and the Debian package each comes from.
needed=(cc:gcc chromedriver:chromium-driver chromium:chromium codespell:codespell curl:curl fail2ban-client:fail2ban faketime:faketime jq:jq nginx:nginx-light pkg-config:pkg-config promtool:prometheus redis-server:redis-server rsyslogd:rsyslog valgrind:valgrind)

say() { printf '\n== %s\n' "$*"; }

install_needed() {
  local missing=() pair
  # Servers are where only the administrator's path looks.
  local PATH="$PATH:/usr/sbin"
  for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    echo "tests/all.sh: Debian packages are missing: ${missing[*]}" >&2
    echo "Install them as root: apt-get install --yes --no-install-recommends ${missing[*]}" >&2
    exit 2
  fi
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --option DPkg::Lock::Timeout=300 --yes --no-install-recommends "${missing[@]}" >/dev/null
}

# The features of the crate, each alone; read from the manifest so that none is forgotten.
features() {
  cargo metadata --no-deps --format-version 1 |
    jq -r '.packages[] | select(.name == "palisade") | .features | keys[] | select(. != "default")'
}

# No dependency of the library may ask for a newer Rust than the library promises.
check_rust_version() {
  local used newer
  used=$(cargo tree -p palisade --all-features -e normal --prefix none --format '{p}' | awk '{ print $1 "@" substr($2, 2) }' | sort -u)
  newer=$(cargo metadata --format-version 1 --all-features | jq -r --arg used "$used" '
    def number: split(".") | map(tonumber) | .[0] * 1000000 + .[1] * 1000 + (.[2] // 0);
    ($used | split("\n")) as $used
    | (.packages[] | select(.name == "palisade") | .rust_version) as $promised
    | .packages[]
    | select(.rust_version != null and ("\(.name)@\(.version)" | IN($used[])))
    | select((.rust_version | number) > ($promised | number))
    | "\(.name) \(.version) needs Rust \(.rust_version), the crate promises \($promised)"')
  if [ -n "$newer" ]; then
    printf '%s\n' "$newer" >&2
    return 1
  fi
  echo "holds for $(wc -w <<<"$used") packages"
}

# The README says how many crates a user gets; the numbers must be those of the lock file.
check_readme() {
  local none default
  none=$(cargo tree -p palisade -e normal --no-default-features --prefix none | sed 's/ (.*//' | sort -u | grep -vc '^palisade ')
  default=$(cargo tree -p palisade -e normal --prefix none | sed 's/ (.*//' | sort -u | grep -vc '^palisade ')
  if ! tr '\n' ' ' <README.md | grep -q "depends on $none crates, with the default ones on $default;"; then
    echo "README.md: without default features there are $none crates, with them $default" >&2
    return 1
  fi
  local features tree
  for features in " --no-default-features" ""; do
    # shellcheck disable=SC2086 # none or one
    tree=$(cargo tree -p palisade -e normal$features | sed '1s| (.*||')
    if [ "$(sed -n "\|<code>cargo tree -e normal$features</code>|,\|</details>|p" README.md | sed -n '/^```text$/,/^```$/{/^```/d;p}')" != "$tree" ]; then
      printf 'README.md: cargo tree -e normal%s is now\n%s\n' "$features" "$tree" >&2
      return 1
    fi
  done
  echo "$none and $default crates, as it says"
}

# Runs every fuzz target, with these options. What is found new goes to tests/fuzz/corpus, which is not committed.
fuzz() {
  command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
  local target
  for target in tests/fuzz/fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    say "fuzzing $target"
    mkdir -p "tests/fuzz/corpus/$target"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" "tests/fuzz/corpus/$target" "tests/fuzz/seeds/$target" -- -max_len=4096 "$@"
  done
}

install_needed

if $fuzz; then
  fuzz -max_total_time="${FUZZ_SECONDS:-60}" -print_final_stats=1
  exit
fi

if $quick; then
  say "tests, all features"
  cargo test --workspace --all-features
  exit
fi

say "formatting"
cargo fmt --all --check

say "clippy: all features, default, none, each alone"
cargo clippy --workspace --all-targets --all-features -- -D warnings
cargo clippy -p palisade --all-targets -- -D warnings
cargo clippy -p palisade --all-targets --no-default-features -- -D warnings
for feature in $(features); do
  cargo clippy -p palisade --lib --no-default-features --features "$feature" -- -D warnings
done

say "the promised Rust version"
check_rust_version

say "the README's numbers"
check_readme

say "what would be published"
tests/package.sh

say "the README, as a newcomer does it"
tests/newcomer.sh

say "spelling and links"
tests/text.sh

say "tests, all features"
cargo test --workspace --all-features
say "tests of the shared store with Valkey"
tests/valkey.sh
say "tests, default features"
cargo test -p palisade
say "tests, no features"
cargo test -p palisade --no-default-features

say "the limiter's table, as a model of its threads"
RUSTFLAGS="--cfg palisade_shuttle" cargo test --quiet --manifest-path tests/model/Cargo.toml

say "the memory scan, linked statically against musl"
if command -v rustup >/dev/null && rustup target add x86_64-unknown-linux-musl; then
  cargo run --quiet --manifest-path tests/static/Cargo.toml --target x86_64-unknown-linux-musl
else
  echo "skipped: this Rust has no standard library for x86_64-unknown-linux-musl"
fi

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc -p palisade --no-deps --all-features

say "examples and benches build"
cargo build --workspace --examples --all-features
cargo build --workspace --benches --all-features

say "the instructions of a request"
tests/instructions.sh

# Dev-dependencies bring features along that users do not have: the library must build without them.
say "the library alone, each feature"
for feature in $(features); do
  cargo check --quiet -p palisade --lib --no-default-features --features "$feature"
done
cargo check --quiet -p palisade --lib --no-default-features
cargo check --quiet -p palisade --lib --all-features

say "the container"
tests/container/run.sh

if $long; then
  say "the library alone, each pair of features"
  command -v cargo-hack >/dev/null || cargo install --quiet --locked cargo-hack
  cargo hack check --quiet -p palisade --lib --feature-powerset --depth 2 --exclude-features default
  say "the oldest dependencies"
  tests/minimal_versions.sh
  say "the public interface"
  tests/public_api.sh
  if cargo +nightly --version >/dev/null 2>&1; then
    fuzz -runs=0
  else
    echo "SKIPPED: no nightly toolchain, so the fuzz targets were NOT built; their checks ran over their seeds in the tests above"
  fi
  say "soak"
  PALISADE_SOAK=${PALISADE_SOAK:-120} cargo test -p palisade-example-api --test e2e good_and_bad_clients_together -- --nocapture
fi

say "everything passed"
