//! `cutover status`: what serves, read at a glance, once or live.

mod render;

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use cutover_api::Status;
use http::Method;

use self::render::render;
use super::client::{Client, Document};
use super::failure::{Failure, code};

const REDRAW: Duration = Duration::from_secs(1);
/// Cursor home, clear below: no flicker, unlike clearing first.
const HOME: &str = "\x1b[H\x1b[J";

/// Prints the status, once or every second until interrupted.
pub(super) async fn status(
    client: &Client,
    service: Option<&str>,
    watch: bool,
) -> Result<u8, Failure> {
    if !watch {
        let document = fetch(client).await?;
        write(&show(client, &document, service)?)?;
        return Ok(code::DONE);
    }
    let terminal = std::io::stdout().is_terminal() && !client.json;
    loop {
        // A restart of the controller is something to watch, not an end.
        let text = match fetch(client).await {
            Ok(document) => show(client, &document, service)?,
            Err(failure) if terminal => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        let home = if terminal { HOME } else { "" };
        if write(&format!("{home}{text}")).is_err() {
            return Ok(code::DONE);
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAW) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::DONE),
        }
    }
}

async fn fetch(client: &Client) -> Result<Document, Failure> {
    client.document(Method::GET, "/v1/status", None::<&()>).await
}

fn show(client: &Client, document: &Document, service: Option<&str>) -> Result<String, Failure> {
    let status = match service {
        None if client.json => return Ok(format!("{}\n", document.text)),
        None => document.read()?,
        Some(name) => only(document.read()?, name)?,
    };
    match client.json {
        true => {
            let text = serde_json::to_string(&status).map_err(Failure::other)?;
            Ok(format!("{text}\n"))
        }
        false => Ok(render(&status)),
    }
}

/// The status with one service only.
fn only(mut status: Status, name: &str) -> Result<Status, Failure> {
    if !status.services.iter().any(|service| service.name.as_str() == name) {
        let known: Vec<&str> = status.services.iter().map(|s| s.name.as_str()).collect();
        return Err(Failure::unknown_service(name, &known));
    }
    status.services.retain(|service| service.name.as_str() == name);
    Ok(status)
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::other)
}
