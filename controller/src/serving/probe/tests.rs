use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn http(path: &str, timeout: Duration) -> ProbeConfig {
    let kind = ProbeKind::Http {
        method: "GET".into(),
        path: path.into(),
        host: None,
        status: vec![(200, 299)],
    };
    ProbeConfig { kind, interval: Duration::from_secs(1), timeout, rise: 2, fall: 3 }
}

/// Answers one connection with fixed bytes and returns what it was asked.
async fn peer(reply: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap() == 0 {
                break;
            }
        }
        stream.write_all(reply.as_bytes()).await.unwrap();
        if reply.is_empty() {
            // Hang until the prober gives up.
            stream.read_buf(&mut head).await.unwrap();
        }
        String::from_utf8(head).unwrap()
    });
    (address, asked)
}

#[tokio::test]
async fn a_probe_says_who_it_is_and_reads_the_status() {
    let (address, asked) = peer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = ask(address, &http("/health?full", Duration::from_secs(5)), "example.com").await;
    assert_eq!((answer.passed, answer.text.as_str()), (true, "HTTP 200"));
    let head = asked.await.unwrap();
    assert!(head.starts_with("GET /health?full HTTP/1.1\r\n"), "{head}");
    for field in ["host: example.com", "x-forwarded-proto: https", "user-agent: cutover-probe/"] {
        assert!(head.to_lowercase().contains(field), "{head}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_is_no_success_unless_it_is_listed() {
    let (address, _asked) =
        peer("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n").await;
    let answer = ask(address, &http("/", Duration::from_secs(5)), "h").await;
    assert_eq!((answer.passed, answer.text.as_str()), (false, "HTTP 302"));
}

#[tokio::test]
async fn an_endless_body_does_not_hold_the_probe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_buf(&mut Vec::new()).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let answer = ask(address, &http("/", Duration::from_secs(30)), "h").await;
    assert_eq!((answer.passed, answer.text.as_str()), (true, "HTTP 200"));
}

#[tokio::test]
async fn silence_refusal_and_garbage_are_failures_with_a_reason() {
    let (address, _asked) = peer("").await;
    let silent = ask(address, &http("/", Duration::from_millis(50)), "h").await;
    assert_eq!((silent.passed, silent.text.as_str()), (false, "no answer within 50ms"));

    let (address, _asked) = peer("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(!ask(address, &http("/", Duration::from_secs(5)), "h").await.passed);

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tcp = ProbeConfig { kind: ProbeKind::Tcp, ..http("/", Duration::from_secs(5)) };
    let refused = ask(gone, &tcp, "h").await;
    assert_eq!((refused.passed, refused.text.as_str()), (false, "connection refused"));
}

/// Answers every question; `per_connection` of them, then it closes the connection without a word.
/// Counts connections.
async fn app(
    per_connection: usize,
) -> (SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::Ordering;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                for _ in 0..per_connection {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(reply).await.unwrap();
                }
            });
        }
    });
    (address, connections)
}

fn permit() -> Option<OwnedSemaphorePermit> {
    std::sync::Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().ok()
}

#[tokio::test]
async fn ten_probes_share_a_connection_and_the_next_one_opens_another() {
    let (address, connections) = app(usize::MAX).await;
    let mut prober = Prober::default();
    let probe = http("/health", Duration::from_secs(5));
    for asked in 0..2 * MAX_REQUESTS {
        assert!(prober.ask(address, &probe, "h", permit()).await.passed);
        let expected = (asked / MAX_REQUESTS + 1) as usize;
        assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn an_app_that_closes_between_two_probes_passes_all_the_same() {
    let (address, connections) = app(1).await;
    let mut prober = Prober::default();
    let probe = http("/health", Duration::from_secs(5));
    for _ in 0..5 {
        let answer = prober.ask(address, &probe, "h", permit()).await;
        assert!(answer.passed, "{answer:?}");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 5);
}

#[tokio::test]
async fn without_a_permit_no_connection_is_kept() {
    let (address, connections) = app(usize::MAX).await;
    let mut prober = Prober::default();
    let probe = http("/health", Duration::from_secs(5));
    for _ in 0..3 {
        assert!(prober.ask(address, &probe, "h", None).await.passed);
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 3);
}
