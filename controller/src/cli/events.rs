//! `cutover events`: what happens, one JSON line each.

use std::io::Write;

use http::Method;

use super::client::Client;
use super::failure::{Failure, code};

/// Prints what has happened, and with `follow` what will.
pub(super) async fn events(client: &Client, follow: bool) -> Result<u8, Failure> {
    let path = format!("/v1/events?follow={follow}");
    let mut lines = client.lines(Method::GET, &path, None::<&()>).await?;
    while let Some(line) = lines.next().await? {
        // A reader that has gone (`| head`) ends the command.
        if writeln!(std::io::stdout(), "{}", line.text).is_err() {
            break;
        }
    }
    Ok(code::DONE)
}
