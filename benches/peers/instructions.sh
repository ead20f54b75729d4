#!/bin/bash
# Prints the instructions that each service adds to one request of the bare service, admitted and refused.
# Wants valgrind. Counts do not depend on the machine's noise: two runs of different lengths, and their difference.
set -eu
cd "$(dirname "$0")"
cargo build --release --quiet
binary=target/release/palisade-bench-peers
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" count "$1" "$2" "$3" 2>&1 |
        sed -n 's/.*Collected : //p'
}
printf '%-24s %10s %10s\n' 'instructions added' admitted refused
for name in bare palisade 'palisade fields' tower_governor 'tower_governor headers' axum-governor; do
    for way in admitted refused; do
        per=$((($(count "$name" $way 101000) - $(count "$name" $way 1000)) / 100000))
        [ "$name" = bare ] && eval "bare_$way=$per"
        eval "found_$way=\$((per - (\$([ '$name' = bare ] && echo 0 || echo \$bare_$way))))"
    done
    printf '%-24s %10d %10d\n' "$name" "$found_admitted" "$found_refused"
done
