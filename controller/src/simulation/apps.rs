//! Probes that are answered by what is true of the simulated containers.

use std::time::Duration;

use async_trait::async_trait;

use crate::config::ProbeKind;
use crate::engine::fake::{self, FakeEngine};
use crate::serving::outside::Apps;
use crate::serving::probing::ProbeTarget;
use crate::state::health::Answer;

/// The apps in the containers of an engine.
#[derive(Debug)]
pub(super) struct FakeApps(pub(super) FakeEngine);

#[async_trait]
impl Apps for FakeApps {
    async fn answer(&self, target: &ProbeTarget) -> Answer {
        let took = Duration::from_millis(1);
        tokio::time::sleep(took).await;
        let (passed, text) = match self.0.answer(target.address.ip()) {
            fake::Answer::Refused => (false, REFUSED.to_owned()),
            fake::Answer::Silent => {
                tokio::time::sleep(target.probe.timeout).await;
                (false, "no answer".to_owned())
            }
            fake::Answer::Status { status, .. } => match &target.probe.kind {
                ProbeKind::Tcp => (true, "connected".to_owned()),
                ProbeKind::Http { status: wanted, .. } => {
                    let passed = wanted.iter().any(|(low, high)| (low..=high).contains(&&status));
                    (passed, format!("HTTP {status}"))
                }
            },
        };
        let reached = text != REFUSED;
        Answer { passed, reached, text, took }
    }
}

const REFUSED: &str = "connection refused";
