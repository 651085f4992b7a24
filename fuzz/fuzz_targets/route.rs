#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| cutover_proxy::fuzzing::route(text));
