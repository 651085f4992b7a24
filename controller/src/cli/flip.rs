//! The verbs that change what serves, at once: flip, weight, pause, resume, abort, reload.

use cutover_api::{
    Aborted, Ending, FlipRequest, Flipped, PauseRequest, PauseState, Reloaded, Target,
    WeightRequest, Weighted,
};
use http::Method;

use super::client::Client;
use super::failure::Failure;
use super::options::Pause;
use super::text::milliseconds;
use crate::millis::millis;

/// `web: blue -> green, generation 12, live in 41 µs`.
pub(super) async fn flip(
    client: &Client,
    service: &str,
    to: Target,
    force: bool,
) -> Result<u8, Failure> {
    let answer = client.post(service, "flip", &FlipRequest { to, force }).await?;
    client.print(&answer, |flipped: &Flipped| {
        let Flipped { service, generation, flip_us, probe_ms, .. } = flipped;
        let (from, to) = (flipped.from.as_str(), flipped.to.as_str());
        format!(
            "{service}: {from} -> {to}, generation {generation}, live in {flip_us} µs, probed in {probe_ms} ms"
        )
    })
}

/// Sets the shares, of both colors: one that is forgotten must not take the color's traffic away.
pub(super) async fn weight(
    client: &Client,
    service: &str,
    shares: &[(String, u32)],
) -> Result<u8, Failure> {
    let answer = client.post(service, "weight", &both_shares(service, shares)?).await?;
    client.print(&answer, |weighted: &Weighted| {
        let Weighted { service, weights, generation, .. } = weighted;
        format!(
            "{service}: blue {}, green {}, generation {generation}",
            weights.blue, weights.green
        )
    })
}

fn both_shares(service: &str, shares: &[(String, u32)]) -> Result<WeightRequest, Failure> {
    let share = |color: &str| {
        let mut named = shares.iter().filter(|(name, _)| name == color).map(|(_, share)| *share);
        (named.next(), named.next())
    };
    let refused = |message: &str, blue: u32, green: u32| {
        let hint = format!("cutover weight {service} blue={blue} green={green}");
        Err(Failure::usage(message, hint))
    };
    let left = |share: u32| 100_u32.saturating_sub(share);
    match (share("blue"), share("green")) {
        ((Some(0), None), (Some(0), None)) => {
            refused("one of the shares must be more than 0", 95, 5)
        }
        ((blue @ Some(_), None), (green @ Some(_), None)) => Ok(WeightRequest { blue, green }),
        ((Some(blue), None), (None, _)) => {
            refused("the share of green is missing", blue, left(blue))
        }
        ((None, _), (Some(green), None)) => {
            refused("the share of blue is missing", left(green), green)
        }
        _ => refused("the share of each color is named once", 95, 5),
    }
}

/// Holds requests.
pub(super) async fn pause(client: &Client, options: &Pause) -> Result<u8, Failure> {
    let max_pause_ms = millis(options.max_pause);
    let request = PauseRequest { writes_only: options.writes_only, max_pause_ms };
    let answer = client.post(&options.service, "pause", &request).await?;
    client.print(&answer, |PauseState { service, .. }| {
        let what = if options.writes_only { "writes are" } else { "requests are" };
        let most = milliseconds(max_pause_ms);
        format!(
            "{service}: {what} held, each for {most} at most; `cutover resume {service}` lets them go"
        )
    })
}

/// Lets held requests go on.
pub(super) async fn resume(client: &Client, service: &str) -> Result<u8, Failure> {
    let answer = client.post(service, "resume", &NOTHING).await?;
    client.print(&answer, |PauseState { service, .. }| format!("{service}: requests go on"))
}

/// Ends the rollout under way.
pub(super) async fn abort(client: &Client, service: &str) -> Result<u8, Failure> {
    let answer = client.post(service, "abort", &NOTHING).await?;
    client.print(&answer, |aborted: &Aborted| {
        let Aborted { service, revision, serves, generation, .. } = aborted;
        let phase = aborted.phase.as_str().replace('_', " ");
        let what = match (aborted.result, serves) {
            (Ending::RolledBack, _) => format!("flipped back to {}", serves.as_str()),
            (_, Target::Both) => "abandoned before its flip, both colors still serve".to_owned(),
            _ => format!("abandoned before its flip, {} still serves", serves.as_str()),
        };
        format!("{service}: revision {revision} was {what} (it stood at {phase}), generation {generation}")
    })
}

/// Has the config file read again.
pub(super) async fn reload(client: &Client) -> Result<u8, Failure> {
    let answer = client.document(Method::POST, "/v1/config/reload", Some(&NOTHING)).await?;
    client.print(&answer, |Reloaded { generation }| {
        format!("config is live, generation {generation}")
    })
}

/// `{}`.
const NOTHING: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
