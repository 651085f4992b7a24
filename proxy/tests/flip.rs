//! What a flip guarantees, with real sockets and real load.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Edge, Then, Upstream, eventually, ok};
use cutover_proxy::table::{Color, Hangup};
use socket2::{Domain, Socket, Type};

#[test]
fn no_request_fails_and_none_goes_astray_over_two_hundred_flips() {
    let [blue, green] = ["blue", "green"].map(Upstream::saying);
    let mut edge = Edge::in_front_of(&[blue.address]);
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (stop, served, address) = (Arc::clone(&stop), Arc::clone(&served), edge.address);
            thread::spawn(move || {
                let connect =
                    || common::Client::new(std::net::TcpStream::connect(address).unwrap());
                let mut client = connect();
                while !stop.load(Ordering::Relaxed) {
                    if number % 4 == 0 {
                        client = connect();
                    }
                    let response = if number % 2 == 0 {
                        client.get("/")
                    } else {
                        client.post("/", b"some body")
                    };
                    assert_eq!(response.status, 200, "{response:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut kept = edge.connect();
    for flip in 0..200 {
        let (color, upstream) =
            if flip % 2 == 0 { (Color::Green, &green) } else { (Color::Blue, &blue) };
        edge.serve(color, &[upstream.address]);
        // Guarantee 2: the flip has answered, so a kept-alive connection meets the new color.
        assert_eq!(kept.get("/").text(), color.as_str());
    }
    let enough = served.load(Ordering::Relaxed) + 1000;
    eventually("some more load after the last flip", || served.load(Ordering::Relaxed) > enough);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    eventually("every retired pool has drained", || edge.snapshot().pools.len() == 1);
}

/// Everybody wants a new connection at once, from an app whose listen queue holds a few.
#[test]
fn a_flip_under_load_to_an_app_with_a_short_listen_queue_fails_no_request() {
    let queue = |length| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(length).unwrap();
        TcpListener::from(socket)
    };
    let [blue, green] =
        ["blue", "green"].map(|color| Upstream::on(queue(4), move |_| Then::Answer(ok(color))));
    let mut edge = Edge::in_front_of(&[blue.address]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let (stop, mut client) = (Arc::clone(&stop), edge.connect());
            thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) || answers.len() < 20 {
                    let answer = client.get("/");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answers.push(answer.text());
                }
                answers
            })
        })
        .collect();
    let all_served = |upstream: &Upstream| {
        let goal = upstream.requests() + 1000;
        eventually("the load goes on", || upstream.requests() > goal);
    };
    all_served(&blue);
    edge.serve(Color::Green, &[green.address]);
    all_served(&green);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let answers = client.join().unwrap();
        assert!(answers.is_sorted(), "blue, and from then on green");
    }
    assert_eq!(edge.snapshot().panics, 0);
}

/// Connections are opened as the app answers; one that answers late is to get all the same.
#[test]
fn an_app_that_answers_nothing_yet_gets_every_request_all_the_same() {
    let go = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&go);
    let upstream = Upstream::scripted(move |_| {
        eventually("all are there", || released.load(Ordering::SeqCst));
        Then::Answer(ok("hi"))
    });
    let edge = Edge::in_front_of(&[upstream.address]);
    let mut clients: Vec<_> = (0..30).map(|_| edge.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("every request is with the app", || upstream.requests() == 30);
    go.store(true, Ordering::SeqCst);
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "hi");
    }
}

#[test]
fn a_request_in_flight_is_served_whole_by_the_pool_it_was_given() {
    let (started, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let blue = {
        let (started, go) = (Arc::clone(&started), Arc::clone(&go));
        Upstream::scripted(move |_| {
            started.store(true, Ordering::SeqCst);
            let go = Arc::clone(&go);
            Then::Take(Box::new(move |stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nblue").unwrap();
                eventually("the flip", || go.load(Ordering::SeqCst));
                stream.write_all(b"blue").unwrap();
            }))
        })
    };
    let green = Upstream::saying("green");
    let mut edge = Edge::in_front_of(&[blue.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is at blue", || started.load(Ordering::SeqCst));
    edge.serve(Color::Green, &[green.address]);
    let retired = || edge.snapshot().pools.into_iter().find(|pool| pool.retired);
    assert_eq!(retired().map(|pool| pool.requests), Some(1));
    assert_eq!(edge.get("/").text(), "green");
    go.store(true, Ordering::SeqCst);
    assert_eq!(client.response().unwrap().text(), "blueblue");
    eventually("blue has drained", || retired().is_none());
    assert_eq!(client.get("/").text(), "green", "the client's connection stays");
}

#[test]
fn idle_connections_to_the_old_pool_close_at_once() {
    let closed = Arc::new(AtomicBool::new(false));
    let blue = {
        let closed = Arc::clone(&closed);
        Upstream::scripted(move |_| {
            let closed = Arc::clone(&closed);
            Then::Take(Box::new(move |stream| {
                stream.write_all(&ok("blue")).unwrap();
                let end = stream.read(&mut [0; 16]);
                closed.store(matches!(end, Ok(0)), Ordering::SeqCst);
            }))
        })
    };
    let green = Upstream::saying("green");
    let mut edge = Edge::in_front_of(&[blue.address]);
    assert_eq!(edge.get("/").text(), "blue");
    edge.serve(Color::Green, &[green.address]);
    eventually("blue's idle connection is closed", || closed.load(Ordering::SeqCst));
}

/// The engine gives an address to the next container as soon as it is free.
#[test]
fn a_connection_to_one_container_is_never_used_for_another_at_its_address() {
    let upstream = Upstream::saying("hi");
    let mut edge = Edge::in_front_of(&[upstream.address]);
    let connections = || upstream.connections.load(Ordering::SeqCst);
    for number in 1..=5 {
        edge.service().pools[0].endpoints[0].id = format!("container-{number}").as_str().into();
        edge.apply();
        let before = connections();
        for _ in 0..20 {
            assert_eq!(edge.get("/").text(), "hi");
        }
        // One for each worker that had some of the requests, and none that was open before.
        assert!((1..=2).contains(&(connections() - before)), "container {number}");
    }
}

#[test]
fn a_hangup_ends_what_the_deadline_is_for_and_counts_it() {
    let blue = Upstream::scripted(|seen| {
        let endless = seen.path() == "/stream";
        Then::Take(Box::new(move |stream| {
            let head: &[u8] = if endless {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
            };
            stream.write_all(head).unwrap();
            stream.read_exact(&mut [0; 16]).ok();
        }))
    });
    let green = Upstream::saying("green");
    let mut edge = Edge::in_front_of(&[blue.address]);
    let [mut request, mut stream] = ["/request", "/stream"].map(|path| {
        let mut client = edge.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.head().unwrap().status, 200);
        client
    });
    edge.serve(Color::Green, &[green.address]);
    let web = "web".parse().unwrap();
    let in_flight = || {
        let pools = edge.snapshot().pools;
        pools.iter().find(|pool| pool.retired).map(|pool| (pool.requests, pool.streams))
    };
    assert_eq!(in_flight(), Some((1, 1)));
    edge.handle.hang_up(&web, Color::Blue, edge.handle.generation(), Hangup::Requests);
    assert!(request.is_closed());
    eventually("only the stream is left", || in_flight() == Some((0, 1)));
    edge.handle.hang_up(&web, Color::Blue, edge.handle.generation(), Hangup::Everything);
    assert!(stream.is_closed());
    eventually("blue is gone", || in_flight().is_none());
    let stats = edge.snapshot().services.remove(0).colors.remove(0);
    assert_eq!(stats.forced.get("request"), Some(&1));
    assert_eq!(stats.forced.get("stream"), Some(&1));
}

#[test]
fn traffic_is_shared_by_weight_while_both_colors_serve() {
    let [blue, green] = ["blue", "green"].map(Upstream::saying);
    let mut edge = Edge::start();
    edge.service().pools = vec![
        common::pool(Color::Blue, &[blue.address]),
        common::pool(Color::Green, &[green.address]),
    ];
    edge.service().pools[0].weight = 90;
    edge.service().pools[1].weight = 10;
    edge.apply();
    let mut client = edge.connect();
    for _ in 0..1000 {
        client.get("/");
    }
    // Ten standard deviations: this fails once in more runs than there will be.
    assert!((10..200).contains(&green.requests()), "{} of 1000", green.requests());
}

#[test]
fn requests_wait_for_an_endpoint_and_then_go_through() {
    let mut edge = Edge::start();
    edge.apply();
    let address = edge.address;
    let waiting = thread::spawn(move || {
        common::Client::new(std::net::TcpStream::connect(address).unwrap()).get("/")
    });
    eventually("the request waits", || {
        edge.snapshot().services.first().is_some_and(|service| service.waiting == 1)
    });
    let blue = Upstream::saying("blue");
    edge.serve(Color::Blue, &[blue.address]);
    assert_eq!(waiting.join().unwrap().text(), "blue");
    assert_eq!(edge.snapshot().services[0].held, 1);
}

#[test]
fn without_an_endpoint_the_answer_is_a_503_that_says_why_and_when_to_come_back() {
    let mut edge = Edge::start();
    edge.service().timeouts.hold = Duration::from_millis(200);
    edge.apply();
    let response = edge.get("/");
    assert_eq!((response.status, response.reason()), (503, "no_endpoint"));
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[test]
fn a_paused_service_holds_writes_and_lets_reads_through() {
    let blue = Upstream::saying("blue");
    let mut edge = Edge::in_front_of(&[blue.address]);
    edge.service().pause =
        Some(cutover_proxy::table::Pause { writes_only: true, max_pause: Duration::from_secs(10) });
    edge.apply();
    assert_eq!(edge.get("/").text(), "blue");
    let address = edge.address;
    let write = thread::spawn(move || {
        common::Client::new(std::net::TcpStream::connect(address).unwrap()).post("/", b"x")
    });
    eventually("the write waits", || edge.snapshot().services[0].waiting == 1);
    edge.service().pause = None;
    edge.apply();
    assert_eq!(write.join().unwrap().text(), "blue");
}

#[test]
fn a_hangup_ends_an_answer_that_the_client_does_not_read() {
    let blue = Upstream::scripted(|_| {
        Then::Take(Box::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }))
    });
    let green = Upstream::saying("green");
    let mut edge = Edge::in_front_of(&[blue.address]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    edge.serve(Color::Green, &[green.address]);
    let alive = |edge: &Edge| edge.snapshot().pools.len();
    assert_eq!(alive(&edge), 2);
    let before = edge.handle.generation();
    edge.handle.hang_up(&"web".parse().unwrap(), Color::Blue, before, Hangup::Everything);
    eventually("blue is gone though the client reads nothing", || alive(&edge) == 1);
    let stats = edge.snapshot().services.remove(0).colors.remove(0);
    assert_eq!(stats.forced.get("stream"), Some(&1));
}
