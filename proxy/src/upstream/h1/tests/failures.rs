//! How an exchange fails, and what that says about sending the request again.
use super::*;

/// One good exchange, then the connection and the upstream's end of it.
async fn used() -> (Box<Connection>, TcpStream) {
    let (connection, mut stream) = pair().await;
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        stream
    });
    let answer = read(Ask::get().over(connection).await.unwrap()).await;
    (answer.connection.unwrap(), script.await.unwrap())
}

/// Waits until the reactor has reported what came in.
async fn until_unusable(connection: &mut Box<Connection>) {
    let noticed = async {
        while connection.is_reusable() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, noticed).await.expect("nothing was noticed");
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_again() {
    let address = upstream(|mut stream| async move {
        while read_head(&mut stream).await.ends_with(b"\r\n\r\n") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let mut connection = Connection::connect(address).await.unwrap();
    for n in 1..=100 {
        let answer = read(Ask::get().over(connection).await.unwrap()).await;
        assert_eq!(answer.body(), b"ok");
        connection = answer.connection.unwrap();
        assert!(connection.is_reusable());
        assert_eq!(connection.exchanges(), n);
    }
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_spoken_on_is_not_reusable() {
    for what in ["fin", "reset", "poison"] {
        let (mut connection, mut stream) = used().await;
        assert!(connection.is_reusable());
        let mut kept = None;
        match what {
            "fin" => drop(stream),
            "reset" => reset(stream),
            _ => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
                    .await
                    .unwrap();
                kept = Some(stream);
            }
        }
        until_unusable(&mut connection).await;
        let failure = Ask::get().over(connection).await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{what}: {failure:?}");
        drop(kept);
    }
}

#[tokio::test]
async fn a_stale_connection_found_out_late_leaves_the_body_whole() {
    let (mut connection, stream) = used().await;
    drop(stream);
    until_unusable(&mut connection).await;
    let mut body = Some(Pieces::whole(Some(5), &[b"hello"]));
    let failure = Ask::new(Method::POST).send(connection, &mut body).await.unwrap_err();
    assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
    assert!(!body.unwrap().polled.get());
}

#[tokio::test]
async fn a_new_connection_that_closes_at_once_is_a_refusal() {
    for after in [After::Close, After::Reset] {
        let (mut connection, stream) = pair().await;
        match after {
            After::Reset => reset(stream),
            After::Close | After::Keep => drop(stream),
        }
        until_unusable(&mut connection).await;
        let mut body = Some(Pieces::whole(Some(5), &[b"hello"]));
        let ask = Ask::new(Method::POST);
        let failure = ask.send(connection, &mut body).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
        assert!(!body.unwrap().polled.get());
    }
}

#[test]
fn what_must_not_be_sent_twice_meets_no_connection_that_is_closed_already() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, stream) = used().await;
        // Closed between two turns of the reactor, which has had no chance to report it.
        let stream = stream.into_std().unwrap();
        drop(stream);
        let mut body = Some(Pieces::whole(Some(5), &[b"hello"]));
        let ask = Ask::new(Method::POST);
        let failure = ask.send(connection, &mut body).await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
    });
}

/// The answer and the reset behind it are there before the next piece of the body is sent.
#[tokio::test]
async fn a_body_is_taken_on_behind_an_answer_of_an_upstream_that_takes_no_more() {
    let (connection, stream) = pair().await;
    let (feed, body) = Pieces::new(Some(10));
    let mut body = Some(body);
    let mut asking = Box::pin(Ask::new(Method::POST).send(connection, &mut body));
    std::future::poll_fn(|cx| {
        assert!(asking.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    stream.try_write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").unwrap();
    // With the head unread in it, so that the close is a reset.
    drop(stream);
    feed.try_send(Ok(Bytes::from_static(b"hello"))).unwrap();
    let Reply::Response(_, mut answer) = asking.await.unwrap() else { panic!("a response") };
    assert!(answer.is_uploading());
    let early = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(early, "early");
    feed.send(Ok(Bytes::from_static(b"world"))).await.unwrap();
    drop(feed);
    std::future::poll_fn(|cx| answer.poll_upload(cx)).await.unwrap();
    assert!(answer.take_connection().is_none(), "a broken one serves nobody");
}

/// A body whose first piece comes just as the upstream resets the connection.
#[derive(Debug)]
struct Unlucky {
    upstream: Option<TcpStream>,
    pieces: Vec<Bytes>,
}

impl RequestBody for Unlucky {
    fn put_back(&mut self, pieces: Vec<Bytes>) {
        self.pieces.extend(pieces.into_iter().rev());
    }
}

impl Body for Unlucky {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(upstream) = self.upstream.take() {
            reset(upstream);
        }
        Poll::Ready(self.pieces.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[tokio::test]
async fn a_body_that_was_taken_and_not_sent_is_whole_for_the_next_attempt() {
    let (connection, stream) = used().await;
    let pieces = vec![Bytes::from_static(b"world"), Bytes::from_static(b"hello")];
    let mut body = Some(Unlucky { upstream: Some(stream), pieces });
    let failure = Ask::new(Method::POST).send(connection, &mut body).await.unwrap_err();
    assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
    assert_eq!(body.unwrap().pieces, [&b"world"[..], b"hello"]);
}

/// As on a worker: the exchange is a task, and another one keeps the thread busy, so that the reactor
/// has its turn now and then only.
#[test]
fn a_surplus_answer_that_the_reactor_has_not_told_of_answers_nobody() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime =
        runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    let asking = async {
        let busy = tokio::task::spawn_local(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        for _ in 0..50 {
            let (connection, stream) = used().await;
            stream.try_write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsurplus").unwrap();
            let failure = Ask::get().over(connection).await.unwrap_err();
            assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
        }
        busy.abort();
    };
    runtime.block_on(async { tokio::task::spawn_local(asking).await.unwrap() });
}

#[tokio::test]
async fn a_close_instead_of_an_answer_says_whether_the_connection_was_fresh() {
    for after in [After::Close, After::Reset] {
        for fresh in [true, false] {
            let (connection, mut stream) = if fresh { pair().await } else { used().await };
            let script = tokio::spawn(async move {
                read_head(&mut stream).await;
                if after == After::Reset {
                    reset(stream);
                }
            });
            let failure = Ask::get().over(connection).await.unwrap_err();
            let Failure::Closed { reused, consumed, .. } = failure else {
                panic!("closed, not {failure:?}");
            };
            assert_eq!((reused, consumed), (!fresh, false));
            script.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_close_in_the_middle_of_a_body_says_that_the_body_is_gone() {
    let (connection, mut stream) = pair().await;
    let (feed, body) = Pieces::new(Some(1_000_000));
    feed.try_send(Ok(Bytes::from_static(b"start"))).unwrap();
    let script = tokio::spawn(async move {
        read_head(&mut stream).await;
    });
    let failure = Ask::new(Method::POST).send(connection, &mut Some(body)).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Closed { reused: false, consumed: true, .. }),
        "{failure:?}"
    );
    script.await.unwrap();
}

#[tokio::test]
async fn an_end_inside_the_head_is_not_safe_to_repeat() {
    for after in [After::Close, After::Reset] {
        let failure = answer(Ask::get(), "HTTP/1.1 20", after).await.unwrap_err();
        assert!(matches!(failure, Failure::Io(_)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_client_that_fails_cuts_the_request_off() {
    for exact in [Some(10), None] {
        let (connection, mut stream) = pair().await;
        let script = tokio::spawn(async move {
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {}
            request
        });
        let (feed, body) = Pieces::new(exact);
        let feeding = async move {
            feed.send(Ok(Bytes::from_static(b"hello"))).await.unwrap();
            let gone = io::ErrorKind::ConnectionReset.into();
            feed.send(Err(gone)).await.unwrap();
        };
        let mut body = Some(body);
        let ask = Ask::new(Method::POST);
        let (reply, ()) = tokio::join!(ask.send(connection, &mut body), feeding);
        assert!(matches!(reply, Err(Failure::Downstream(_))), "{reply:?}");
        let request = String::from_utf8(script.await.unwrap()).unwrap();
        assert!(!request.ends_with("0\r\n\r\n"), "it must not look complete: {request}");
    }
}

#[tokio::test]
async fn a_body_that_lies_about_its_length_is_never_completed() {
    for pieces in [&[&b"toolong"[..]][..], &[b"no"]] {
        let (connection, stream) = pair().await;
        let mut body = Some(Pieces::whole(Some(5), pieces));
        let failure = Ask::new(Method::POST).send(connection, &mut body).await.unwrap_err();
        assert!(matches!(failure, Failure::Io(_)), "{failure:?}");
        drop(stream);
    }
}
