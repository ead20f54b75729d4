//! Benchmarks alone; see `benches/`.
