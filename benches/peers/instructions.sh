#!/usr/bin/env bash
# Prints the instructions that each service adds to one request of the bare service, admitted and refused.
# Wants valgrind. Counts do not depend on the machine's noise: two runs of different lengths, and their difference.
#
#   instructions.sh                      all rows
#   instructions.sh AROUND NAME...       some of them; with KEYS=10000, of so many keys
set -euo pipefail
# A measurement that fails is no count of 0.
shopt -s inherit_errexit
cd "$(dirname "$0")"
cargo build --release --quiet --bin count
binary=target/release/count

total() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}

# Instructions of one request: the median of three, for the clock of some peers is calibrated anew in every process, for as long as it takes.
per_request() {
    local round
    for round in 1 2 3; do
        echo $((($(total "$@" "${KEYS:-1}" 11000) - $(total "$@" "${KEYS:-1}" 1000)) / 10000))
    done | sort -n | sed -n 2p
}

rows() {
    local around=$1 name bare_admitted
    shift
    bare_admitted=$(per_request "$around" bare admitted)
    printf '%-14s %-24s %10d\n' "$around" bare "$bare_admitted"
    for name; do
        printf '%-14s %-24s %+10d %+10d\n' "$around" "$name" \
            $(($(per_request "$around" "$name" admitted) - bare_admitted)) \
            $(($(per_request "$around" "$name" refused) - bare_admitted))
    done
}

printf '%-14s %-24s %10s %10s\n' around instructions admitted refused
if [ $# -gt 0 ]; then
    rows "$@"
    exit
fi
limiters=(palisade 'palisade fields' tower_governor 'tower_governor headers' axum-governor 'raw governor')
rows tower "${limiters[@]}"
echo 'with 10,000 keys:'
KEYS=10000 rows tower "${limiters[@]}"
rows content-type "${limiters[@]}"
rows axum 'no-op layer' "${limiters[@]}"
rows proxy 'tower_governor smart' 'palisade stack a' 'palisade stack b' 'palisade stack b, metrics' \
    'typical stack' 'typical stack, metrics' \
    'tower-http one field' 'palisade https hsts' 'by hand preset' 'palisade preset'
