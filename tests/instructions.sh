#!/usr/bin/env bash
# Checks that a request costs no more instructions than it should. Instructions, counted by callgrind, do not depend on the machine's noise; the bars
# are ratios to the bare service, with some head room above what was measured (benches/README.md).
#
# Wants valgrind, and says so where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "tests/instructions.sh: SKIPPED, nothing was checked: valgrind is missing (apt-get install valgrind)" >&2
    exit 0
fi

binary=$(cargo bench --quiet -p palisade --bench count --all-features --no-run --message-format json |
    jq -r 'select(.target.name == "count") | .executable // empty')

total() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}

# Instructions of one request: two runs, and their difference.
per_request() {
    echo $((($(total "$1" 3000) - $(total "$1" 1000)) / 2000))
}

bare=$(per_request bare)
echo "bare: $bare instructions"
failed=0

# check NAME PERCENT: what it adds may be so many hundredths of the bare service.
check() {
    local added=$(($(per_request "$1") - bare))
    local bar=$((bare * $2 / 100))
    if [ "$added" -le "$bar" ]; then
        echo "$1: $added added, at most $bar"
    else
        echo "$1: $added added, which is above the bar of $bar" >&2
        failed=1
    fi
}

check limit 30
check limit-fields 120
check refused 130
check stack 350
exit $failed
