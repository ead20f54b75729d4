#!/usr/bin/env bash
# How much of each module the tests run: lines and regions, by file, as a table and in target/llvm-cov/html.
#
# It needs cargo-llvm-cov, which it installs, and LLVM's tools: rustup component add llvm-tools, or those of a distribution, named by
# LLVM_COV=/usr/lib/llvm-19/bin/llvm-cov LLVM_PROFDATA=/usr/lib/llvm-19/bin/llvm-profdata. What only examples, the scans of memory and the code
# in the documentation run is not counted.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-llvm-cov >/dev/null || cargo install --quiet --locked cargo-llvm-cov
# The counters take memory of their own, which a test of memory would take for the jail's.
cargo llvm-cov --package palisade --all-features --lib --test it --test redis --no-report -- --skip jail::memory
cargo llvm-cov report --html --ignore-filename-regex '(tests|benches|examples)/'
cargo llvm-cov report --ignore-filename-regex '(tests|benches|examples)/'
