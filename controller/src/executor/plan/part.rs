//! What a deploy of one service is made of.

use cutover_proxy::table::Color;

use super::Inventory;
use super::template::Template;
use crate::engine::{Container, split_reference, without_color};
use crate::executor::request::Deploy;
use crate::millis::millis;
use crate::state::rollout::{Part, Replica};

impl Inventory {
    /// The part of a rollout that this service is, and what its new containers are made like. Both
    /// are empty where there is nothing to make another like.
    pub(in crate::executor) fn part(
        &self,
        deploy: &Deploy,
        from: Color,
        to: Color,
    ) -> (Part, Vec<Template>) {
        let both = self.is_both().then_some(self.weights);
        let templates = self.templates(from, to);
        let revision = self.journaled.members.last_revision().max(1) + 1;
        let today = templates.first().map(Template::image).unwrap_or_default();
        let image = match (&deploy.image, &deploy.tag) {
            (Some(image), _) => image.clone(),
            (None, Some(tag)) => format!("{}:{tag}", split_reference(&today).0),
            (None, None) => today,
        };
        let ids = |all: &[&Container]| all.iter().map(|c| c.id.as_str().to_owned()).collect();
        let old = self.running(from);
        let part = Part {
            service: self.service.clone(),
            batch: 0,
            revision,
            from,
            to,
            image,
            digest: None,
            image_id: None,
            pull: deploy.pull.unwrap_or_default(),
            replicas: self.replicas(&templates, from, to, revision),
            old: ids(&old),
            displaced: ids(&self.color(to)),
            labelled: self.labelled(),
            retain: self.config.rollout.retain,
            keep_failed: Part::keeps_failed(
                self.config.rollout.on_failure,
                templates.first().is_some_and(Template::of_compose),
            ),
            both,
            found: None,
            min_ready_ms: millis(self.config.rollout.min_ready),
        };
        (part, templates)
    }

    /// As many as serve now, else as many as there are to be made like.
    fn replicas(
        &self,
        templates: &[Template],
        from: Color,
        to: Color,
        revision: u64,
    ) -> Vec<Replica> {
        let own = self.running(to).len();
        let wanted = match (self.is_both(), self.running(from).len()) {
            (true, _) if own > 0 => own,
            (_, 0) => templates.len(),
            (_, running) => running,
        };
        let replicas = (0..wanted).filter_map(|n| {
            let template = templates.get(n).or_else(|| templates.last())?;
            let mut name = template.name(self.service.as_str(), to, n);
            if self.is_both() && !self.labelled() {
                // Both colors get new containers, and each its own.
                name = format!("{}-{to}", without_color(&name));
            }
            // A copy beyond the last template has no name of its own to come to.
            let name = match n < templates.len() {
                true => name,
                false => format!("{name}-{}", n + 1),
            };
            let container = template.container();
            Some(Replica {
                template: container.map(|c| c.id.as_str().to_owned()).unwrap_or_default(),
                number: self.number(template, n, wanted),
                candidate: format!("{name}-r{revision}"),
                name,
                id: None,
                spec: None,
            })
        });
        replicas.collect()
    }
}
