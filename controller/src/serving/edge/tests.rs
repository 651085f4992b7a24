use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use cutover_proxy::link::AccessLog;

use super::connection::ProxySocket;
use super::*;

/// A proxy that keeps to the protocol and remembers nothing but its generation.
struct Peer {
    stream: BufReader<UnixStream>,
}

impl Peer {
    async fn accept(listener: &UnixListener, generation: u64) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Self { stream: BufReader::new(stream) };
        let hello =
            FromProxy::Hello { version: "0".into(), pid: 7, generation: Generation(generation) };
        peer.send(&hello).await;
        peer
    }

    async fn receive(&mut self) -> ToProxy {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn send(&mut self, message: &FromProxy) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.stream.write_all(&line).await.unwrap();
    }

    /// Takes a table and says which one.
    async fn apply(&mut self) -> Generation {
        let ToProxy::Apply(table) = self.receive().await else { panic!("not a table") };
        self.send(&FromProxy::Applied { generation: table.generation, swap_ns: 41_000 }).await;
        table.generation
    }
}

fn listener(dir: &tempfile::TempDir) -> (PathBuf, UnixListener) {
    let path = dir.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    (path, listener)
}

#[tokio::test]
async fn a_table_goes_out_under_the_next_number() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(11));
    let mut peer = Peer::accept(&listener, 0).await;
    let (applied, seen) = tokio::join!(edge.apply(TableSpec::default()), peer.apply());
    assert_eq!(seen, Generation(12));
    let applied = applied.unwrap();
    assert_eq!((applied.generation, applied.swap), (seen, Duration::from_micros(41)));
}

#[tokio::test]
async fn numbers_go_on_from_the_proxys_where_the_journal_knew_less() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(3));
    let mut peer = Peer::accept(&listener, 40).await;
    let (applied, _) = tokio::join!(edge.apply(TableSpec::default()), peer.apply());
    assert_eq!(applied.unwrap().generation, Generation(41));
}

#[tokio::test]
async fn a_restarted_proxy_gets_the_table_and_the_access_log_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(0));
    let mut peer = Peer::accept(&listener, 0).await;
    let (applied, _) = tokio::join!(edge.apply(TableSpec::default()), peer.apply());
    applied.unwrap();
    let log = edge.access_log(AccessLogTarget::Stdout);
    let heard = async {
        assert_eq!(peer.receive().await, ToProxy::AccessLog(AccessLog::Stdout));
        peer.send(&FromProxy::Done).await;
        peer
    };
    let (logged, peer) = tokio::join!(log, heard);
    logged.unwrap();

    drop(peer);
    let mut peer = Peer::accept(&listener, 0).await;
    assert_eq!(peer.receive().await, ToProxy::AccessLog(AccessLog::Stdout));
    peer.send(&FromProxy::Done).await;
    assert_eq!(peer.apply().await, Generation(2));
}

#[tokio::test]
async fn without_a_proxy_the_newest_table_waits_and_the_rest_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let edge = Edge::connect(Arc::new(ProxySocket(path.clone())), Generation(0));
    assert!(matches!(edge.snapshot().await, Err(Error::ProxyUnavailable)));
    let first = tokio::spawn({
        let edge = edge.clone();
        async move { edge.apply(TableSpec::default()).await }
    });
    tokio::task::yield_now().await;
    let second = edge.apply(TableSpec::default());
    let arrives = async {
        assert!(matches!(first.await.unwrap(), Err(Error::ProxyUnavailable)));
        let listener = UnixListener::bind(&path).unwrap();
        let mut peer = Peer::accept(&listener, 0).await;
        peer.apply().await;
        peer
    };
    let (second, _peer) = tokio::join!(second, arrives);
    assert_eq!(second.unwrap().generation, Generation(1));
}

#[tokio::test]
async fn a_refused_table_is_not_offered_to_the_next_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(0));
    let mut peer = Peer::accept(&listener, 0).await;
    let (applied, _) = tokio::join!(edge.apply(TableSpec::default()), peer.apply());
    applied.unwrap();
    let other = TableSpec { routes: Vec::new(), ..TableSpec::default() };
    let refuses = async {
        peer.receive().await;
        peer.send(&FromProxy::Refused { message: "no".into() }).await;
    };
    let (refused, ()) = tokio::join!(edge.apply(other), refuses);
    assert!(matches!(refused, Err(Error::Refused(_))));
    drop(peer);
    let mut peer = Peer::accept(&listener, 1).await;
    assert_eq!(peer.apply().await, Generation(2));
}

#[tokio::test]
async fn the_access_log_file_travels_with_its_message() {
    use std::io::{IoSliceMut, Write};
    use std::mem::MaybeUninit;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(0));
    let log_path = dir.path().join("access.log");
    let file = Arc::new(File::create(&log_path).unwrap());
    let mut peer = Peer::accept(&listener, 0).await;
    edge.link().wait_for(|link| *link != Link::Down).await.unwrap();
    let (sent, ()) = tokio::join!(edge.access_log(AccessLogTarget::File(file)), async {
        let stream = peer.stream.get_ref();
        let fd = stream.async_io(tokio::io::Interest::READABLE, || {
            let mut bytes = [0; 256];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let buffers = &mut [IoSliceMut::new(&mut bytes)];
            recvmsg(stream, buffers, &mut control, RecvFlags::empty())?;
            Ok(control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            }))
        });
        let fd = fd.await.unwrap();
        File::from(fd.unwrap()).write_all(b"a line\n").unwrap();
        peer.send(&FromProxy::Done).await;
    });
    sent.unwrap();
    assert_eq!(std::fs::read_to_string(log_path).unwrap(), "a line\n");
}

#[tokio::test]
async fn a_proxy_that_answers_with_a_wrong_number_does_not_spoil_it_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(3));
    let mut liar = Peer::accept(&listener, 0).await;
    let lies = async {
        liar.receive().await;
        liar.send(&FromProxy::Applied { generation: Generation(u64::MAX), swap_ns: 1 }).await;
        let mut honest = Peer::accept(&listener, 0).await;
        let seen = honest.apply().await;
        (honest, seen)
    };
    let (applied, (_honest, seen)) = tokio::join!(edge.apply(TableSpec::default()), lies);
    assert_eq!(applied.unwrap().generation, seen);
    assert!(seen < Generation(10), "{seen}");
}

#[tokio::test]
async fn a_proxy_that_greets_with_an_absurd_number_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, listener) = listener(&dir);
    let edge = Edge::connect(Arc::new(ProxySocket(path)), Generation(3));
    let _liar = Peer::accept(&listener, u64::MAX).await;
    let meets = async {
        let mut honest = Peer::accept(&listener, 3).await;
        honest.apply().await;
        honest
    };
    let (applied, _honest) = tokio::join!(edge.apply(TableSpec::default()), meets);
    assert_eq!(applied.unwrap().generation, Generation(4));
}
