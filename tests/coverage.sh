#!/usr/bin/env bash
# How much of each module the tests run: lines and regions, by file, as a table and in target/llvm-cov/html.
#
# It needs cargo-llvm-cov, which it installs, and the component llvm-tools: rustup component add llvm-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-llvm-cov >/dev/null || cargo install --quiet --locked cargo-llvm-cov
cargo llvm-cov --package palisade --all-features --no-report
cargo llvm-cov report --html --ignore-filename-regex '(tests|benches|examples)/'
cargo llvm-cov report --ignore-filename-regex '(tests|benches|examples)/'
