#![no_main]

#[path = "../checks/x_forwarded_for.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
