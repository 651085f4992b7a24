//! `cutover plan`: what a deploy would do, and what stands in its way.

use cutover_api::{Finding, Plan};

use super::client::Client;
use super::failure::{Failure, code};
use super::options::Deploy;
use super::rollout::request;

/// Prints the steps and the blockers; with a blocker the exit code is that of a refusal.
pub(super) async fn plan(client: &Client, options: &Deploy) -> Result<u8, Failure> {
    let (first, body) = request(options)?;
    let client = client.with_logins(options.image.as_deref());
    let document = client.post(&first, "plan", &body).await?;
    client.print(&document, render)?;
    match document.read::<Plan>()?.blockers.is_empty() {
        true => Ok(code::DONE),
        false => Ok(code::REFUSED),
    }
}

fn render(plan: &Plan) -> String {
    let steps = plan.steps.iter().enumerate();
    let mut lines: Vec<String> = steps
        .map(|(n, step)| format!("{:>2}. {}: {}", n + 1, step.service, step.message))
        .collect();
    for (findings, title) in [(&plan.warnings, "warning"), (&plan.blockers, "blocker")] {
        for Finding { service, message, fix, .. } in findings {
            lines.push(format!("{title}: {service}: {message}"));
            lines.push(format!("  fix: {fix}"));
        }
    }
    if plan.blockers.is_empty() {
        lines.push("nothing stands in the way; nothing was changed".to_owned());
    }
    lines.join("\n")
}
