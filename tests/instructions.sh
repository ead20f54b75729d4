#!/usr/bin/env bash
# Counts the instructions that layers add to one request, with callgrind, and fails where there are more than the table allows: some ten percent
# more than were counted when it was written. Counts do not depend on how busy the machine is, but on the compiler: where a new one moves them,
# the table moves, too.
#
#   tests/instructions.sh          checks
#   tests/instructions.sh --show   only prints
set -euo pipefail
# A measurement that fails is no count of 0.
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

# What stands around the service, admitted or refused, and how many instructions it may add.
allowed='
gate         admitted 250
limit        admitted 1000
limit        refused  4350
limit-fields admitted 3000
limit-fields refused  5700
https-hsts   admitted 2200
preset       admitted 1900
stack        admitted 5800
stack        refused  8450
stack-more   admitted 10200
stack-more   refused  12300
'

binary=$(cargo bench -p palisade --all-features --bench count --no-run --message-format json-render-diagnostics |
  jq -r 'select(.reason == "compiler-artifact" and .target.name == "count") | .executable // empty')

total() {
  local counted
  counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1) || {
    printf '%s\n' "$counted" >&2
    return 1
  }
  sed -n 's/.*Collected : //p' <<<"$counted"
}

# Instructions of one request: two runs of different lengths, and their difference.
per_request() {
  local short long
  short=$(total "$@" 1000)
  long=$(total "$@" 6000)
  echo $(((long - short) / 5000))
}

bare=$(per_request bare admitted)
failed=0
while read -r name way most; do
  [ -n "$name" ] || continue
  added=$(($(per_request "$name" "$way") - bare))
  printf '%-12s %-8s adds %6d of %6d\n' "$name" "$way" "$added" "$most"
  if [ "$added" -gt "$most" ]; then
    failed=1
  fi
done <<<"$allowed"
if [ "${1:-}" != --show ] && [ "$failed" -ne 0 ]; then
  echo "tests/instructions.sh: a request takes more instructions than it may" >&2
  exit 1
fi
