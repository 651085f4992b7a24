use std::future::{pending, ready};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// The four ends of a tunnel: client, our end of it, our connection upstream, the upstream.
async fn ends() -> (TcpStream, TcpStream, Box<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (connection, server) = tokio::join!(Connection::connect(address), listener.accept());
    (client.unwrap(), ours.unwrap().0, connection.unwrap(), server.unwrap().0)
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let read = timeout(DEADLINE, stream.read_exact(&mut bytes)).await;
    read.expect("nothing comes").unwrap();
    bytes
}

async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("no end comes").unwrap();
    bytes
}

#[tokio::test(flavor = "local")]
async fn the_first_bytes_of_both_sides_are_delivered_first() {
    let (mut client, ours, mut connection, mut server) = ends().await;
    connection.buffer().extend_from_slice(b"hello client");
    let first = Bytes::from_static(b"hello server");
    let tunnel = tokio::task::spawn_local(tunnel(ours, first, connection, pending()));
    assert_eq!(read_exactly(&mut server, 12).await, b"hello server");
    assert_eq!(read_exactly(&mut client, 12).await, b"hello client");
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_exactly(&mut server, 4).await, b"ping");
    drop((client, server));
    let carried = timeout(DEADLINE, tunnel).await.unwrap().unwrap();
    assert_eq!((carried.up, carried.down), (16, 12));
}

#[tokio::test(flavor = "local")]
async fn a_half_close_leaves_the_other_direction_open() {
    let (mut client, ours, connection, mut server) = ends().await;
    let tunnel = tokio::task::spawn_local(tunnel(ours, Bytes::new(), connection, pending()));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await, b"question");
    server.write_all(b"answer").await.unwrap();
    assert_eq!(read_exactly(&mut client, 6).await, b"answer");
    drop(server);
    assert_eq!(read_all(&mut client).await, b"");
    let carried = timeout(DEADLINE, tunnel).await.unwrap().unwrap();
    assert!(matches!(carried.end, End::Closed), "{carried:?}");
    assert_eq!((carried.up, carried.down), (8, 6));
}

#[tokio::test(flavor = "local")]
async fn a_megabyte_each_way_at_once_arrives_unchanged() {
    const SIZE: usize = 1 << 20;
    let (client, ours, connection, server) = ends().await;
    let tunnel = tokio::task::spawn_local(tunnel(ours, Bytes::new(), connection, pending()));
    let up: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let down: Vec<u8> = (0..SIZE).map(|i| (i % 241) as u8).collect();
    let side = |stream: TcpStream, bytes: Vec<u8>| async move {
        let (mut reader, mut writer) = stream.into_split();
        let writing = async move {
            writer.write_all(&bytes).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(reader.read_to_end(&mut got), writing);
        read.unwrap();
        got
    };
    let both = async { tokio::join!(side(client, up.clone()), side(server, down.clone())) };
    let (at_client, at_server) = timeout(DEADLINE, both).await.expect("it hangs");
    assert!(at_client == down && at_server == up);
    let carried = timeout(DEADLINE, tunnel).await.unwrap().unwrap();
    assert_eq!((carried.up, carried.down), (SIZE as u64, SIZE as u64));
    assert!(matches!(carried.end, End::Closed));
}

#[tokio::test(flavor = "local")]
async fn a_hangup_closes_both_sides() {
    let (mut client, ours, connection, mut server) = ends().await;
    let (hangup, told) = tokio::sync::oneshot::channel::<()>();
    let told = async {
        told.await.ok();
    };
    let tunnel = tokio::task::spawn_local(tunnel(ours, Bytes::new(), connection, told));
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read_exactly(&mut server, 4).await, b"ping");
    hangup.send(()).unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(read_all(&mut server).await, b"");
    let carried = timeout(DEADLINE, tunnel).await.unwrap().unwrap();
    assert!(matches!(carried.end, End::Hangup));
    assert_eq!((carried.up, carried.down), (4, 0));
}

#[tokio::test]
async fn a_hangup_before_the_first_byte_carries_nothing() {
    let (_client, ours, connection, _server) = ends().await;
    let carried = tunnel(ours, Bytes::from_static(b"late"), connection, ready(())).await;
    assert!(matches!(carried.end, End::Hangup));
    assert_eq!(carried.up, 0);
}

#[tokio::test(flavor = "local")]
async fn a_reset_on_one_side_ends_the_whole() {
    let (mut client, ours, connection, server) = ends().await;
    let tunnel = tokio::task::spawn_local(tunnel(ours, Bytes::new(), connection, pending()));
    let linger = socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(server);
    assert_eq!(read_all(&mut client).await, b"");
    let carried = timeout(DEADLINE, tunnel).await.unwrap().unwrap();
    assert!(matches!(carried.end, End::Broken(_)), "{carried:?}");
}
