//! Whether every POST arrived once, asked of the apps themselves.

use std::collections::HashMap;

use anyhow::Context as _;

use crate::load;
use crate::stage::Stage;

/// POSTs that no app has seen, and that were seen more than once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Posts {
    pub(super) lost: u64,
    pub(super) doubled: u64,
}

/// Compares the numbers that were sent, `0..sent`, with those that arrived.
///
/// # Errors
/// Fails when an app does not answer.
pub(super) async fn posts(stage: &Stage, sent: u64) -> anyhow::Result<Posts> {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    for app in [stage.blue, stage.green] {
        let numbers = load::fetch(app, "/posts")
            .await
            .with_context(|| format!("asking the app on {app} which POSTs it has seen"))?;
        for number in serde_json::from_slice::<Vec<u64>>(&numbers)? {
            *seen.entry(number).or_default() += 1;
        }
    }
    let times = |number| seen.get(&number).copied().unwrap_or(0);
    Ok(Posts {
        lost: (0..sent).filter(|number| times(*number) == 0).count() as u64,
        doubled: (0..sent).filter(|number| times(*number) > 1).count() as u64,
    })
}
