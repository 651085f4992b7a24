//! The rooms of a request's way one by one, for the benches that count instructions. Compiled for
//! them alone.

use std::fmt::Debug;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::downstream::h1::encoder::{self, Encoder};
use crate::downstream::h1::head::{self, HeadParser};
use crate::downstream::listener;
use crate::exchange::record::{Record, Turn};
use crate::exchange::response_body::Body;
use crate::message::decoder::{Decoder, Framing, Piece};
use crate::message::forwarded::{Origin, Peer, RequestIds, Scheme};
use crate::message::headers::Outgoing;
use crate::message::validate::validate;
use crate::metrics::access_log;
use crate::metrics::counters::Registry;
use crate::pool::balance::choose;
use crate::pool::balance_key::BalanceKey;
use crate::pool::compile::Table;
use crate::pool::lease::Lease;
use crate::table::{
    Balance, Color, EndpointId, EndpointSpec, Generation, HostPattern, Limits, Policy, PoolSpec,
    RouteSpec, ServiceName, ServiceSpec, TableSpec, Timeouts,
};
use crate::upstream::{parse_answer, write_head};
use crate::worker::Worker;
use crate::worker::admission::Limiter;
use crate::worker::run::{self, Command};
use crate::worker::shared::{Shared, WorkerSlot};

/// Goes through a room once with each call; everything it needs is ready.
pub type Room = Box<dyn FnMut()>;

/// From the bytes of a client's connection to a request head.
#[must_use]
pub fn parse_request(bytes: &'static [u8]) -> Room {
    let (mut parser, mut buffer, limits) =
        (HeadParser::default(), BytesMut::new(), Limits::default());
    Box::new(move || {
        buffer.extend_from_slice(bytes);
        assert!(black_box(parser.parse(&mut buffer, &limits)).is_ok_and(|head| head.is_some()));
    })
}

/// The rules of request heads.
#[must_use]
pub fn validate_request(bytes: &'static [u8]) -> Room {
    let (parts, limits) = (request(bytes).parts, Limits::default());
    Box::new(move || assert!(black_box(validate(&parts, &limits)).is_ok()))
}

/// From host and path to a service, where there are so many hosts; each call asks for another.
#[must_use]
pub fn find_route(hosts: usize) -> Room {
    let worker = worker(table(hosts, 1, APP));
    let hosts: Vec<_> = (0..hosts).map(|nth| format!("s{nth}.test")).collect();
    let mut turn = 0;
    Box::new(move || {
        let host = hosts.get(turn % hosts.len()).map_or("", String::as_str);
        turn += 7; // no divisor of the number of hosts: all of them come
        worker.with_view(|view| assert!(black_box(view.route(host, "/api/items")).is_some()));
    })
}

/// A lease on one of so many endpoints, by the default policy, and its end.
#[must_use]
pub fn choose_endpoint(endpoints: usize) -> Room {
    let worker = worker(table(1, endpoints, APP));
    let headers = HeaderMap::new();
    Box::new(move || assert!(black_box(lease(&worker, &headers)).is_some()))
}

/// The head that goes upstream, with the fields that are ours.
#[must_use]
pub fn write_request(bytes: &'static [u8]) -> Room {
    let head::Head { parts, framing, .. } = request(bytes);
    let (peer, ids) = (Peer::new(SocketAddr::new(CLIENT, 40_000), Scheme::Http), RequestIds::new());
    let (mut out, limits) = (Vec::new(), Limits::default());
    let valid = sure(validate(&parts, &limits));
    let (target, authority) = (valid.target.into_owned(), valid.authority.map(str::to_owned));
    Box::new(move || {
        let origin = Origin::new(&peer, &parts.headers, &[], &ids, SystemTime::UNIX_EPOCH);
        let outgoing = Outgoing {
            target: &target,
            authority: authority.as_deref(),
            host: None,
            origin: &origin,
            upgrade: None,
            trusted: false,
        };
        out.clear();
        write_head(&mut out, &parts, &outgoing, APP, framing, false);
        black_box(&out);
    })
}

/// From the bytes of an upstream's connection to the head of an answer.
#[must_use]
pub fn parse_response(bytes: &'static [u8]) -> Room {
    let mut buffer = BytesMut::new();
    Box::new(move || {
        buffer.extend_from_slice(bytes);
        assert!(black_box(parse_answer(&mut buffer)).is_some());
    })
}

/// The head that goes to the client.
#[must_use]
pub fn write_response(bytes: &'static [u8]) -> Room {
    let Some(head) = parse_answer(&mut BytesMut::from(bytes)) else {
        panic!("no head of an answer")
    };
    let (body, mut out) = (Body::own(vec![b'x'; 1024]), Vec::new());
    let asked = encoder::Asked::new(&Method::GET, Version::HTTP_11, true);
    Box::new(move || {
        out.clear();
        let date = b"Sun, 22 Nov 2026 10:00:00 GMT";
        black_box(Encoder::begin(&mut out, &head, &body, asked, date));
    })
}

/// The whole of a body whose length was said.
#[must_use]
pub fn decode_length(bytes: &'static [u8]) -> Room {
    decode(bytes, Framing::Length(bytes.len() as u64))
}

/// The whole of a body in chunks.
#[must_use]
pub fn decode_chunked(bytes: &'static [u8]) -> Room {
    decode(bytes, Framing::Chunked)
}

fn decode(bytes: &'static [u8], framing: Framing) -> Room {
    let mut buffer = BytesMut::new();
    Box::new(move || {
        let mut decoder = Decoder::new(framing);
        buffer.extend_from_slice(bytes);
        loop {
            match black_box(decoder.decode(&mut buffer)) {
                Ok(Piece::Data(_) | Piece::Trailers(_)) => {}
                Ok(Piece::End) => break,
                Ok(Piece::More) | Err(_) => panic!("no whole body"),
            }
        }
    })
}

/// What is written down of a request from its start to its end while there is no access log, and the
/// lease on the only endpoint that it owns.
#[must_use]
pub fn record_request() -> Room {
    let worker = worker(table(1, 1, APP));
    let service =
        worker.with_view(|view| view.services.first().map(|service| Rc::clone(&service.context)));
    let service = sure(service.ok_or("no service"));
    Box::new(move || {
        let mut record = Record::start(&worker, || panic!("there is no log"));
        record.routed(&service);
        let Some(lease) = lease(&worker, &HeaderMap::new()) else { panic!("no endpoint") };
        record.attempt(lease);
        record.answered_by_app(StatusCode::OK, &Turn::default());
        record.finish(1024);
    })
}

fn lease(worker: &Worker, headers: &HeaderMap) -> Option<Lease> {
    let key = BalanceKey { client: CLIENT, headers, target: "/api/items" };
    worker.with_view(|view| choose(view.services.first()?, &key, &[], &worker.random, NOW))
}

/// A request on a kept-alive connection to a worker, from there to an app, and the answer back: with
/// what client, app and runtime take. The body of the answer has 1 KiB.
#[must_use]
pub fn whole_exchange(request: &'static [u8], answer: &'static [u8]) -> Room {
    exchange(request, answer, |app| {
        let mut table = table(1, 1, app);
        table.routes.iter_mut().for_each(|route| route.host = HostPattern::Any);
        let worker = worker(table);
        let socket = sure(std::net::TcpListener::bind(LOOPBACK));
        let address = sure(socket.local_addr());
        listener::prepare(&socket);
        spawn_local(listener::serve(Rc::clone(&worker), 0, socket));
        let (sender, commands) = mpsc::unbounded_channel();
        sure(sender.send(Command::Table));
        spawn_local(async move { run::run(&worker, commands, Duration::ZERO).await });
        (address, Some(sender))
    })
}

/// The same without a worker: what client, app and runtime take.
#[must_use]
pub fn direct_exchange(request: &'static [u8], answer: &'static [u8]) -> Room {
    exchange(request, answer, |app| (app, None))
}

/// `front` is given the address of the app, and gives the one to ask. A worker lives as long as
/// its sender of commands.
fn exchange(
    request: &'static [u8],
    answer: &'static [u8],
    front: impl FnOnce(SocketAddr) -> (SocketAddr, Option<mpsc::UnboundedSender<Command>>),
) -> Room {
    let options = LocalOptions::default();
    let runtime = sure(runtime::Builder::new_current_thread().enable_all().build_local(options));
    let (mut client, sender) = runtime.block_on(async {
        let app = sure(TcpListener::bind(LOOPBACK).await);
        let (address, sender) = front(sure(app.local_addr()));
        spawn_local(be_an_app(app, answer));
        (sure(TcpStream::connect(address).await), sender)
    });
    let mut got = Vec::new();
    Box::new(move || {
        assert!(sender.as_ref().is_none_or(|sender| !sender.is_closed()), "the worker has ended");
        got.clear();
        runtime.block_on(async {
            sure(client.write_all(request).await);
            while !is_whole(&got) {
                let read = sure(client.read_buf(&mut got).await);
                assert!(read > 0 && got.starts_with(b"HTTP/1.1 200"), "{}", got.escape_ascii());
            }
        });
    })
}

async fn be_an_app(listener: TcpListener, head: &[u8]) {
    let answer = [head, &[b'x'; ANSWER_BYTES]].concat();
    let (mut stream, _) = sure(listener.accept().await);
    let mut request = Vec::new();
    while sure(stream.read_buf(&mut request).await) > 0 {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            sure(stream.write_all(&answer).await);
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let end = memchr::memmem::find(answer, b"\r\n\r\n");
    end.is_some_and(|end| answer.len() == end + 4 + ANSWER_BYTES)
}

fn sure<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}

fn request(bytes: &[u8]) -> head::Head {
    let head = HeadParser::default().parse(&mut BytesMut::from(bytes), &Limits::default());
    sure(sure(head).ok_or("half a head"))
}

/// A worker that sees this table.
fn worker(table: TableSpec) -> Rc<Worker> {
    let registry = Registry::new(1);
    let draft = sure(Table::compile(table, &Table::default(), &registry));
    let shared = Shared {
        table: ArcSwap::from_pointee(draft.publish()),
        registry,
        access_log: sure(access_log::Sender::start()),
        started: Instant::now(),
        trim: None,
        slots: vec![Arc::new(WorkerSlot::new(1))],
        limiter: Limiter::start(),
        addresses: Vec::new(),
    };
    Worker::new(0, Arc::new(shared))
}

/// So many services, each with a host of its own and so many endpoints.
fn table(services: usize, endpoints: usize, address: SocketAddr) -> TableSpec {
    let name = |nth| -> ServiceName { sure(format!("s{nth}").parse()) };
    let route = |nth| RouteSpec {
        host: HostPattern::Exact(format!("s{nth}.test")),
        path: "/".to_owned(),
        strip_prefix: false,
        service: name(nth),
    };
    let endpoint = |nth: usize| EndpointSpec {
        id: EndpointId::from(format!("c{nth}").as_str()),
        address,
        weight: 1,
        up: true,
    };
    let service = |nth| ServiceSpec {
        name: name(nth),
        pools: vec![PoolSpec {
            color: Color::Blue,
            weight: 1,
            endpoints: (0..endpoints).map(endpoint).collect(),
        }],
        balance: Balance::default(),
        host: None,
        max_body: None,
        timeouts: Timeouts::default(),
        pause: None,
    };
    TableSpec {
        generation: Generation(1),
        routes: (0..services).map(route).collect(),
        services: (0..services).map(service).collect(),
        policy: Policy::default(),
    }
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The address of the app, where nobody asks it.
const APP: SocketAddr = SocketAddr::new(CLIENT, 8000);
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const ANSWER_BYTES: usize = 1024;
const NOW: Duration = Duration::from_secs(100);

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";

    #[test]
    fn every_room_can_be_gone_through_again_and_again() {
        let rooms = [
            parse_request(REQUEST),
            validate_request(REQUEST),
            find_route(1),
            find_route(20),
            choose_endpoint(1),
            choose_endpoint(10),
            write_request(REQUEST),
            parse_response(RESPONSE),
            write_response(RESPONSE),
            decode_length(b"body"),
            decode_chunked(b"4\r\nbody\r\n0\r\n\r\n"),
            record_request(),
            direct_exchange(REQUEST, RESPONSE),
            whole_exchange(REQUEST, RESPONSE),
        ];
        for mut room in rooms {
            room();
            room();
        }
    }
}
