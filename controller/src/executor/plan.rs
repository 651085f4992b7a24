//! What a deploy would do, and what stands in its way. Looks, and changes nothing.

mod checks;
mod inventory;
mod part;
mod steps;
pub(super) mod template;

use std::collections::BTreeSet;

use cutover_api::FindingCode;
pub(crate) use cutover_api::{Finding, Step};
use cutover_proxy::table::ServiceName;

pub(super) use self::inventory::Inventory;
use self::template::Template;
use super::Tools;
use super::request::Deploy;
use crate::config::ServiceConfig;
use crate::config::labels::INTERNAL_PREFIX;
use crate::engine::{Container, EngineError, Notice};
use crate::error::Error;
use crate::registry::Logins;
use crate::state::history::Release;
use crate::state::rollout::Part;

/// What would happen, for several services that flip together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// What must be changed first.
    pub blockers: Vec<Finding>,
    /// What is worth knowing.
    pub warnings: Vec<Finding>,
    /// What the rollout would be made of.
    pub(crate) parts: Vec<(Part, ServiceConfig)>,
    /// The other color of those that both serve.
    pub(crate) then: Vec<(Part, ServiceConfig)>,
}

impl Plan {
    /// What a client is told of it.
    #[must_use]
    pub(crate) fn answer(self) -> cutover_api::Plan {
        let Self { steps, blockers, warnings, .. } = self;
        cutover_api::Plan { steps, blockers, warnings }
    }

    /// Says what the new containers of a part are made of; where that is not known any more, it
    /// stands in the way.
    async fn describe(
        &mut self,
        tools: &Tools,
        part: &mut Part,
        templates: &[Template],
    ) -> Result<(), Error> {
        match tools.describe(part, templates).await {
            Ok(notices) => {
                for notice in notices {
                    self.add_notice(&part.service, notice);
                }
                Ok(())
            }
            Err(error) if error.is_transient() => Err(error.into()),
            Err(error) => {
                self.blockers.push(Finding {
                    service: part.service.clone(),
                    code: match error {
                        EngineError::ImageUnknown { .. } => FindingCode::ImageUnknown,
                        _ => FindingCode::Copy,
                    },
                    message: format!("what its containers were made of is not known: {error}"),
                    fix: error.fix().unwrap_or_else(|| RECREATE.into()),
                });
                Ok(())
            }
        }
    }

    /// What a copy cannot have, once, however many copies there are.
    fn add_notice(&mut self, service: &ServiceName, notice: Notice) {
        let Notice { code, message, fix, blocks } = notice;
        let findings = if blocks { &mut self.blockers } else { &mut self.warnings };
        let finding = Finding { service: service.clone(), code, message, fix };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Has a former release come back instead of the one of today. It has served as it was: only
    /// whether it can still be had is a question.
    pub(super) fn recall(&mut self, release: &Release) {
        self.blockers.clear();
        let parts = self.parts.iter_mut().chain(&mut self.then).map(|(part, _)| part);
        for part in parts {
            part.image_id.clone_from(&release.image_id);
            part.digest.clone_from(&release.digest);
            let refused = release.recall(part).err().map(|error| error.to_string());
            let unknown = part.replicas.is_empty()
                || part.replicas.iter().any(|replica| replica.spec.is_none());
            let why = refused
                .or_else(|| unknown.then(|| "what its containers were made of is lost".into()));
            self.blockers.extend(why.map(|message| Finding {
                service: part.service.clone(),
                code: FindingCode::Copy,
                message,
                fix: RECREATE.into(),
            }));
        }
    }

    /// Whether the same containers are in the same colors as when it was drawn.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub(super) async fn still_holds(&self, tools: &Tools) -> Result<bool, Error> {
        let containers = tools.discovery.look().await?;
        for (part, _) in &self.parts {
            let inventory = Inventory::find(&tools.controller, &part.service, &containers)?;
            let old: BTreeSet<_> =
                inventory.running(part.from).iter().map(|c| c.id.as_str()).collect();
            let drawn: BTreeSet<_> = part.old.iter().map(String::as_str).collect();
            if inventory.direction() != (part.from, part.to) || old != drawn {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether each image is here or can be had: for what is pinned already, that very image.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn check_images(
        &mut self,
        tools: &Tools,
        logins: &Logins,
    ) -> Result<(), Error> {
        for (part, _) in &self.parts {
            self.blockers.extend(checks::image(part, tools, logins).await?);
        }
        Ok(())
    }
}

/// Draws the plan of a deploy, all but whether its images can be had: what every new container will
/// be made of is known after it.
///
/// # Errors
/// When Docker does not answer, or a service is not known.
pub(crate) async fn draw(
    tools: &Tools,
    services: &[ServiceName],
    deploy: &Deploy,
) -> Result<Plan, Error> {
    let containers = tools.discovery.look().await?;
    let mut plan = Plan::default();
    for service in services {
        let inventory = Inventory::find(&tools.controller, service, &containers)?;
        let (from, to) = inventory.direction();
        let (mut part, templates) = inventory.part(deploy, from, to);
        plan.describe(tools, &mut part, &templates).await?;
        plan.steps.extend(steps::of(&part, &inventory.config, deploy));
        if part.both.is_some() {
            let (mut other, templates) = inventory.part(deploy, to, from);
            plan.describe(tools, &mut other, &templates).await?;
            plan.steps.extend(steps::of(&other, &inventory.config, deploy));
            plan.then.push((other, inventory.config.clone()));
        }
        checks::check(&inventory, &part, &templates, deploy, tools, &mut plan);
        plan.parts.push((part, inventory.config));
    }
    Ok(plan)
}

/// The reference that a container was made from: what we were asked for, where we made it.
pub(crate) fn image_of(container: &Container) -> String {
    let asked = container.label(&format!("{INTERNAL_PREFIX}image"));
    asked.unwrap_or(&container.image).to_owned()
}

const RECREATE: &str = "create them again with Compose";
