//! What the demo asks of the running Cutover, over its control socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cutover_proxy::table::Color;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The service of the demo.
pub(super) const SERVICE: &str = "demo";

/// Flips; returns what the swap itself took.
pub(super) async fn flip(socket: &Path, to: Color) -> anyhow::Result<Duration> {
    let path = format!("/v1/services/{SERVICE}/flip");
    let answer = ask(socket, Method::POST, &path, format!("{{\"to\":\"{to}\"}}")).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let micros = answer.get("flip_us").and_then(serde_json::Value::as_u64);
    Ok(Duration::from_micros(micros.context("no flip_us in the answer")?))
}

/// Requests that were sent again, and that had to wait, since the proxy started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metrics {
    pub(super) retried: u64,
    pub(super) held: u64,
}

/// Reads the two from `/metrics`.
pub(super) async fn metrics(socket: &Path) -> anyhow::Result<Metrics> {
    let text = ask(socket, Method::GET, "/metrics", String::new()).await?;
    let text = String::from_utf8(text.into())?;
    Ok(Metrics {
        retried: sum(&text, "cutover_retries_total"),
        held: sum(&text, "cutover_held_requests_total"),
    })
}

/// The sum of a metric over its labels.
fn sum(exposition: &str, metric: &str) -> u64 {
    exposition
        .lines()
        .filter_map(|line| line.strip_prefix(metric))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn ask(socket: &Path, method: Method, path: &str, body: String) -> anyhow::Result<Bytes> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await.context("connecting")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "cutover")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let driver = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
        }
        .await;
        driver.abort();
        answer
    };
    let (status, body) = tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .with_context(|| format!("{path}: no answer within 10 s"))?
        .with_context(|| format!("asking {path} of {}", socket.display()))?;
    if !status.is_success() {
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_neighbors() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_b 7\n";
        assert_eq!(sum(text, "a_total"), 5);
        assert_eq!(sum(text, "missing"), 0);
    }
}
