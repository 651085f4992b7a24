use std::time::Duration;

use cutover_api::{LeftOut, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::http::server;
use crate::serving::controller::tests::Fixture;
use crate::serving::counters::Rates;

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn readiness_ends_before_life_does() {
    let fixture = Fixture::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::admin(listener, router(fixture.controller.clone())));
    assert_eq!(get(address, "/readyz").await.0, 200);
    fixture.controller.retire();
    let (status, answer) = get(address, "/readyz").await;
    assert!(status == 503 && answer.ends_with("shutting down\n"), "{answer}");
    assert_eq!(get(address, "/livez").await.0, 200);
    assert!(get(address, "/metrics").await.1.contains("cutover_table_generation"));
    let (status, page) = get(address, "/").await;
    assert!(status == 200 && page.contains("<h2>web <span class=blue>blue</span>"), "{page}");
}

#[tokio::test]
async fn what_others_say_is_shown_and_never_run() {
    let fixture = Fixture::new().await;
    let reason = "<script>alert('x')</script>\u{202e}\u{1b}".to_owned();
    let left_out = vec![LeftOut { container: "\"><b>".into(), reason }];
    let status = Status { left_out, ..fixture.controller.status().await };
    let page = page::render(&status, &Rates::new());
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\u{fffd}\u{fffd}"));
    assert!(page.contains("&quot;&gt;&lt;b&gt;"));
    assert!(!page.contains("<script"));
}
