//! How many instructions each room of a request's way takes, by callgrind.
//!
//! `cargo run -p benches --bin instructions` runs this, and compares with `instructions.json`.

#![allow(missing_docs, unused_qualifications, clippy::exit, reason = "what the macros make")]

mod messages;

use std::hint::black_box;

use benches::instructions::TURNS;
use cutover_proxy::bench::{self, Room};
use gungraun::{library_benchmark, library_benchmark_group, main};

use crate::messages::{
    BODY, BROWSER_REQUEST, CHUNKED_BODY, LONG_RESPONSE, SHORT_RESPONSE, SMALL_REQUEST,
};

// What the proxy allocates with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Once through before it is counted: what is made on first use is not what a request costs.
fn warm(mut room: Room) -> Room {
    for _ in 0..TURNS {
        room();
    }
    room
}

#[library_benchmark]
#[bench::parse_request_small(warm(bench::parse_request(SMALL_REQUEST)))]
#[bench::parse_request_browser(warm(bench::parse_request(BROWSER_REQUEST)))]
#[bench::validate_request_small(warm(bench::validate_request(SMALL_REQUEST)))]
#[bench::validate_request_browser(warm(bench::validate_request(BROWSER_REQUEST)))]
#[bench::find_route_1(warm(bench::find_route(1)))]
#[bench::find_route_1000(warm(bench::find_route(1000)))]
#[bench::choose_endpoint_1(warm(bench::choose_endpoint(1)))]
#[bench::choose_endpoint_10(warm(bench::choose_endpoint(10)))]
#[bench::write_request_small(warm(bench::write_request(SMALL_REQUEST)))]
#[bench::write_request_browser(warm(bench::write_request(BROWSER_REQUEST)))]
#[bench::parse_response_5(warm(bench::parse_response(SHORT_RESPONSE)))]
#[bench::parse_response_20(warm(bench::parse_response(LONG_RESPONSE)))]
#[bench::write_response_5(warm(bench::write_response(SHORT_RESPONSE)))]
#[bench::write_response_20(warm(bench::write_response(LONG_RESPONSE)))]
#[bench::decode_length(warm(bench::decode_length(BODY)))]
#[bench::decode_chunked(warm(bench::decode_chunked(CHUNKED_BODY)))]
#[bench::record_request(warm(bench::record_request()))]
#[bench::direct_exchange_small(warm(bench::direct_exchange(SMALL_REQUEST, SHORT_RESPONSE)))]
#[bench::direct_exchange_browser(warm(bench::direct_exchange(BROWSER_REQUEST, LONG_RESPONSE)))]
#[bench::whole_exchange_small(warm(bench::whole_exchange(SMALL_REQUEST, SHORT_RESPONSE)))]
#[bench::whole_exchange_browser(warm(bench::whole_exchange(BROWSER_REQUEST, LONG_RESPONSE)))]
fn room(mut room: Room) -> Room {
    for _ in 0..TURNS {
        black_box(&mut room)();
    }
    room
}

library_benchmark_group!(name = rooms; benchmarks = room);

main!(library_benchmark_groups = rooms);
