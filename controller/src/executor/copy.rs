//! What new containers are made of. All of it is known before anything is changed; only the image
//! and the name of the rollout are filled in when a container is created.

use std::collections::BTreeMap;

use cutover_proxy::table::Color;

use super::Tools;
use super::plan::template::Template;
use super::steps::edge_label;
use crate::config::labels::{
    COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE, INTERNAL_PREFIX, PREFIX,
};
use crate::discovery::classify;
use crate::engine::{Container, CopyError, EngineError, Notice, Spec};
use crate::state::history::Release;
use crate::state::rollout::{Part, Replica};

impl Tools {
    /// Describes each new container of a part: like its template, of the wanted image. Gives what
    /// cannot be carried over.
    ///
    /// # Errors
    /// When the engine does not answer, or does not know any more what a template was made of.
    pub(super) async fn describe(
        &self,
        part: &mut Part,
        templates: &[Template],
    ) -> Result<Vec<Notice>, EngineError> {
        let (image, to) = (part.image.clone(), part.to);
        let mut notices = Vec::new();
        for (n, replica) in part.replicas.iter_mut().enumerate() {
            let Some(template) = templates.get(n).or_else(|| templates.last()) else { continue };
            let spec = match template {
                Template::Own(container) => {
                    let blueprint = self.containers.blueprint(container.id.as_str()).await?;
                    notices.extend(blueprint.notices());
                    blueprint.copy(&image, &of_compose(container))
                }
                Template::OtherHalf(container) => {
                    let blueprint = self.containers.blueprint(container.id.as_str()).await?;
                    notices.extend(blueprint.notices());
                    let mut spec = blueprint.copy(&image, &BTreeMap::new());
                    leave_compose(&mut spec);
                    // Compose gives each service volumes of its own.
                    spec.leave_anonymous_volumes();
                    set(&mut spec, COLOR, to.as_str());
                    spec
                }
                Template::Recorded(spec) => spec.as_ref().clone(),
            };
            replica.spec = Some(spec);
        }
        Ok(notices)
    }
}

/// What Compose is to find on a copy: it compares the image of its file with the label. Where the
/// reference is that of the file, the new image is what it expects; elsewhere the old one is, or it
/// would undo us.
fn of_compose(template: &Container) -> BTreeMap<String, String> {
    let kept = template.label(&file_label());
    let of_file = kept.map_or_else(|| super::plan::image_of(template), str::to_owned);
    BTreeMap::from([(file_label(), of_file)])
}

/// Takes off a copy what Compose knows the other half of a pair by. The project that it counts as
/// one of stays.
fn leave_compose(spec: &mut Spec) {
    let project = spec.label(COMPOSE_PROJECT).map(str::to_owned);
    let alias = spec.label(COMPOSE_SERVICE).map(str::to_owned);
    let labels = spec.body.labels.get_or_insert_default();
    labels.retain(|name, _| !name.starts_with(COMPOSE));
    if let Some(project) = project {
        labels.entry(format!("{PREFIX}project")).or_insert(project);
    }
    let Some(alias) = alias else { return };
    let first = spec.body.networking_config.iter_mut().flat_map(|c| c.endpoints_config.iter_mut());
    let first = first.flat_map(|endpoints| endpoints.values_mut());
    let rest = spec.networks.iter_mut().filter_map(|(_, r)| r.endpoint_config.as_mut());
    for endpoint in first.chain(rest) {
        for aliases in endpoint.aliases.iter_mut() {
            aliases.retain(|name| *name != alias);
        }
    }
}

impl Part {
    /// What a new container is created from: its description with the image, and what says whose
    /// the container is.
    #[must_use]
    pub(super) fn finished(&self, replica: &Replica, rollout: &str, edge: &str) -> Option<Spec> {
        let mut spec = replica.spec.clone()?;
        spec.body.image = Some(self.image.clone());
        let of_file = spec.label(&file_label()) == Some(&self.image);
        let compose = spec.label(COMPOSE_IMAGE).is_some() && of_file;
        if let Some(id) = self.image_id.as_ref().filter(|_| compose) {
            set(&mut spec, COMPOSE_IMAGE, id);
        }
        if let Some(number) = replica.number.filter(|_| spec.label(COMPOSE_SERVICE).is_some()) {
            set(&mut spec, COMPOSE_NUMBER, &number.to_string());
        }
        // A release of the history may have been of the other color.
        if spec.label(COLOR).is_some() {
            set(&mut spec, COLOR, self.to.as_str());
        }
        set(&mut spec, &classify::rollout_label(), rollout);
        set(&mut spec, &edge_label(), edge);
        set(&mut spec, &classify::color_label(), self.to.as_str());
        set(&mut spec, &format!("{INTERNAL_PREFIX}revision"), &self.revision.to_string());
        set(&mut spec, &format!("{INTERNAL_PREFIX}image"), &self.image);
        Some(spec)
    }
}

impl Release {
    /// What its containers of a color are made of.
    #[must_use]
    pub(super) fn specs_of(&self, color: Color) -> Vec<Spec> {
        self.both.get(&color).unwrap_or(&self.specs).clone()
    }

    /// Has a part's containers made as they were, in the place of what was drawn for it.
    ///
    /// # Errors
    /// Names what the release had and the containers of today have not.
    pub(super) fn recall(&self, part: &mut Part) -> Result<(), CopyError> {
        let specs = match (self.both.get(&part.to), part.both) {
            (Some(specs), _) => specs,
            (None, None) => &self.specs,
            // It served alone: what the other color was made of is not known.
            (None, Some(_)) => return Ok(()),
        };
        for (n, replica) in part.replicas.iter_mut().enumerate() {
            let Some(recorded) = specs.get(n).or_else(|| specs.last()) else { continue };
            replica.spec = Some(match &replica.spec {
                Some(drawn) => in_place_of(drawn, recorded)?,
                None => recorded.clone(),
            });
        }
        Ok(())
    }
}

/// A former release in the place of what was drawn.
pub(super) fn in_place_of(drawn: &Spec, recorded: &Spec) -> Result<Spec, CopyError> {
    let mut spec = recorded.clone();
    spec.check_against(drawn)?;
    spec.take_the_place_of(drawn);
    let of_file = drawn.label(&file_label()).map(str::to_owned);
    match of_file {
        Some(of_file) => set(&mut spec, &file_label(), &of_file),
        None => drop(spec.body.labels.get_or_insert_default().remove(&file_label())),
    }
    Ok(spec)
}

fn set(spec: &mut Spec, label: &str, value: &str) {
    spec.body.labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
}

/// The label with the image reference of the compose file, as far as we know it.
fn file_label() -> String {
    format!("{INTERNAL_PREFIX}compose-image")
}

const COLOR: &str = "cutover.color";
const COMPOSE: &str = "com.docker.compose.";
const COMPOSE_IMAGE: &str = "com.docker.compose.image";

#[cfg(test)]
mod tests;
