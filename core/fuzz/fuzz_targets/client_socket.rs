#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rouse_adversary::fuzz::client_socket(data));
