#!/usr/bin/env bash
# Prints the table that decides: instructions, allocations and times of the rate limiter and of whole stacks, beside their peers. The last one
# measured is in README.md.
#
#   benches/run.sh          everything; some ten minutes. Instructions want valgrind.
set -euo pipefail
cd "$(dirname "$0")"

echo "# Measured on $(uname -sr), $(nproc) cores of $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(rustc --version)"
echo
if command -v valgrind >/dev/null; then
    echo '## Instructions added to one request'
    echo
    peers/instructions.sh
else
    echo "benches/run.sh: no instructions: valgrind is missing (apt-get install valgrind)" >&2
fi
cargo run --release --quiet --manifest-path peers/Cargo.toml --bin palisade-bench-peers
