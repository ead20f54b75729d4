#!/usr/bin/env bash
# Does what the README says in an empty directory, word by word, as somebody who knows nothing else: the quick start, the part about a proxy, and the
# configuration file. The proxy is played by curl; tests/examples/nginx.rs has a real one.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  server=
}
trap 'stop; rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/newcomer}

fail() {
  printf 'tests/newcomer.sh: %s\n' "$*" >&2
  exit 1
}

# Prints the README's block of code in language $1 that stands behind the line $2.
block() {
  awk -v language="$1" -v after="$2" '
    $0 == after { there = 1 }
    there && inside && /^```$/ { exit }
    inside { print }
    there && $0 == "```" language { inside = 1 }
  ' "$root/README.md" | grep . || fail "README.md has no $1 behind $2"
}

start() {
  cargo build --quiet
  "$CARGO_TARGET_DIR/debug/newcomer" &
  server=$!
  local turn
  for turn in $(seq 200); do
    kill -0 "$server" 2>/dev/null || fail "the service has ended"
    # By hand, for nothing is to be spent of the quota.
    if (exec 3<>/dev/tcp/127.0.0.1/3000) 2>/dev/null; then return; fi
    sleep 0.1
  done
  fail "nobody listens on 127.0.0.1:3000 after $turn turns"
}

# Compares the status of a request.
answers() {
  local expected=$1 status
  shift
  status=$(curl --silent --output /dev/null --dump-header "$work/head" --write-out '%{http_code}' "$@" http://127.0.0.1:3000/)
  [ "$status" = "$expected" ] || fail "$status, not $expected: $*"
}

# Prints the program of the quick start with the file $1 in the place of `use palisade::…`, and $2 in that of the builder.
quick_start_with() {
  awk -v uses="$1" -v builder="$2" '
    function put(file) { while ((getline line < file) > 0) print line }
    /^use palisade::/ { put(uses); next }
    /let security = SecurityLayer::builder/ { put(builder); skip = 1 }
    !skip { print }
    /\.build\(\);$/ { skip = 0 }
  ' "$work/quick.rs"
}

# Checks what is promised behind a proxy.
protects() {
  local name=(--header 'host: api.example.com')
  local https=(--header 'x-forwarded-proto: https')
  local client=(--header 'x-forwarded-for: 203.0.113.7')
  answers 200 "${name[@]}" "${https[@]}" "${client[@]}"
  grep -qi '^strict-transport-security: max-age=31536000' "$work/head" || fail "there is no HSTS"
  grep -qi '^x-content-type-options: nosniff' "$work/head" || fail "the preset is not there"
  answers 403 "${name[@]}" --header 'x-forwarded-proto: http' "${client[@]}"
  answers 403 "${name[@]}" "${https[@]}" --header 'x-forwarded-for: 203.0.113.7, 198.51.100.7'
  # Somebody who is not the proxy.
  answers 403 --interface 127.0.0.2 "${name[@]}" "${https[@]}" "${client[@]}"
}

if (exec 3<>/dev/tcp/127.0.0.1/3000) 2>/dev/null; then fail "port 3000 is taken"; fi

cargo init --quiet --vcs none --name newcomer "$work/newcomer"
cd "$work/newcomer"
cp "$root/Cargo.lock" .
grep -v '^\[dependencies\]$' Cargo.toml >"$work/manifest"
{
  cat "$work/manifest"
  block toml '## Quick start' | sed "s|version = \"[0-9.]*\", features = \[\"axum\"\]|path = \"$root\", features = [\"axum\"]|"
} >Cargo.toml
grep -q "path = \"$root\"" Cargo.toml || fail "README.md does not add the crate as it used to"
block rust,no_run '## Quick start' >src/main.rs
cp src/main.rs "$work/quick.rs"
start
began=$(date +%s%N)
flood=$(block sh '## Quick start')
codes=$(bash -c "$flood")
took=$(($(date +%s%N) - began))
count() { awk -v code="$1" '$2 == code { print $1; found = 1 } END { if (!found) print 0 }' <<<"$codes"; }
admitted=$(count 200)
# The burst, and what has come back meanwhile.
most=$((101 + 50 * took / 1000000000))
[ $((admitted + $(count 429))) -eq 200 ] || fail "two hundred requests were answered with $codes"
[ "$admitted" -ge 100 ] && [ "$admitted" -le "$most" ] || fail "$admitted were admitted, not 100 to $most"
stop
echo "the quick start lets $admitted of 200 in"

block rust '### Behind a proxy' >"$work/proxy.rs"
echo '    let security = security()?;' >"$work/call.rs"
quick_start_with "$work/proxy.rs" "$work/call.rs" >src/main.rs
start
protects
stop
echo "behind a proxy, its word is taken and nobody else's"

sed -i 's|features = \["axum"\]|features = ["axum", "serde"]|' Cargo.toml
add=$(grep -o '`cargo add toml`' "$root/README.md" | tr -d '`')
$add --quiet
block toml '([all of it](https://docs.rs/palisade/latest/palisade/config/)):' >palisade.toml
layer=$(sed -n 's/^`\(toml::from_str[^`]*\)` is the layer\..*/\1/p' "$root/README.md")
[ -n "$layer" ] || fail "README.md does not say how the file becomes the layer"
printf '    let text = std::fs::read_to_string("palisade.toml")?;\n    let security = %s;\n' "$layer" >"$work/call.rs"
quick_start_with /dev/null "$work/call.rs" >src/main.rs
start
protects
stop
echo "the same from a file"
