//! What must hold once nothing is under way any more.

use std::collections::{BTreeMap, BTreeSet};

use cutover_api::{Ending, Kind};
use cutover_proxy::table::{Color, ServiceName};

use super::client::Command;
use super::life::Alive;
use crate::engine::State;
use crate::engine::fake::Truth;

impl Alive {
    /// Checks every service.
    pub(super) fn check(&self) {
        let truths = self.world.engine.truths();
        for service in &self.world.services() {
            let ours: Vec<_> =
                truths.iter().filter(|truth| truth.service == service.as_str()).collect();
            self.check_serving(service, &ours);
            self.check_history(service, &ours);
            self.check_owners(service, &ours);
            self.check_journal(service);
        }
    }

    /// Each color serves one release. Whether anything serves at all is watched all the time.
    fn check_serving(&self, service: &ServiceName, ours: &[&Truth]) {
        let serving = self.world.proxy.serving(service);
        let mut images: BTreeMap<Color, BTreeSet<&str>> = BTreeMap::new();
        for (color, id) in &serving {
            let image = ours.iter().find(|truth| truth.id == *id).map(|truth| truth.image.as_str());
            images.entry(*color).or_default().extend(image);
        }
        if images.values().any(|images| images.len() > 1) {
            self.world.violated(format!("{service} serves several releases by one color"));
        }
    }

    /// Whatever a rollout has made serves, or somebody knows why it is still there.
    fn check_owners(&self, service: &ServiceName, ours: &[&Truth]) {
        let members = self.controller.service_state(service).members;
        for truth in ours.iter().filter(|truth| truth.made) {
            let Truth { id, name, state, .. } = truth;
            // One that is being restarted is out of the table for a moment.
            let weights = self.controller.state(|state| state.weights(service));
            let of_serving = members.assigned(id).is_some_and(|color| weights.serves(color));
            let serves = self.world.proxy.names(id) || of_serving && !members.is_aside(id);
            let runs = !matches!(state, State::Created | State::Stopped);
            // What has been failed over from, or flipped away from by hand, runs on.
            let idle = self.world.is_meddled() && members.assigned(id).is_some();
            if runs && !serves && !idle {
                self.world.violated(format!("{name} was left running"));
            }
            let known = members.knows(id) || members.is_parked(id);
            if !known && !members.abandoned().contains(id) {
                self.world.violated(format!("{name} is nobody's"));
            }
        }
    }

    /// The history says what the world says.
    fn check_history(&self, service: &ServiceName, ours: &[&Truth]) {
        let state = self.controller.service_state(service);
        if state.history().iter().any(|entry| entry.report().kind == Kind::Failover) {
            self.world.meddle();
        }
        for report in self.world.reports().iter().filter(|report| report.service == *service) {
            let kept = state.history().iter().find(|entry| {
                let kept = entry.report();
                // One that was not even begun has given no number out.
                (kept.revision, kept.kind, &kept.at) == (report.revision, report.kind, &report.at)
            });
            if kept.is_some_and(|kept| kept.report().result != report.result) {
                let revision = report.revision;
                self.world.violated(format!("{service} r{revision} is told and kept as two"));
            }
        }
        if self.world.is_meddled() {
            return;
        }
        let Some(last) = state.history().last().map(|entry| entry.report()) else { return };
        let serving = self.world.proxy.serving(service);
        let image = self.world.engine.image_id(&last.image);
        let runs = |id: &str| {
            ours.iter().any(|truth| truth.id == id && Some(&truth.image) == image.as_ref())
        };
        let of_last = serving.iter().filter(|(_, id)| runs(id)).count();
        let right = match last.result {
            Ending::Done => of_last == serving.len(),
            Ending::Refused | Ending::RolledBack => {
                let before = state.history().iter().rev().find(|entry| entry.is_done());
                let same = before.is_some_and(|before| before.report().image == last.image);
                of_last == 0 || same
            }
            Ending::Failed => true,
        };
        if !right {
            let told = format!("r{} with {} was {}", last.revision, last.image, last.result);
            self.world.violated(format!("{service}: {told}, and {serving:?} serve"));
        }
    }

    /// A controller that starts now would do the same.
    fn check_journal(&self, service: &ServiceName) {
        let journal = self.world.store.journal();
        let kept = journal.services.get(service).and_then(|state| state.weights);
        let live = self.world.proxy.colors(service);
        let colors = kept.map(|weights| {
            Color::ALL.into_iter().filter(|color| weights.serves(*color)).collect::<Vec<_>>()
        });
        if colors.as_ref() != Some(&live) {
            self.world.violated(format!("{service}: the journal has {colors:?}, live is {live:?}"));
        }
        if journal.intent.is_some() {
            self.world.violated("the journal holds an intent at rest");
        }
    }

    /// Nothing is locked or broken for ever: another release can be brought in.
    pub(super) async fn check_deploy(&self) {
        for service in self.world.services() {
            let service: &'static str = Box::leak(service.to_string().into_boxed_str());
            let reports = self.carry_out(Command::Deploy(vec![service], LAST)).await;
            if !reports.iter().any(|report| report.result == Ending::Done) {
                self.world.violated(format!("{service} cannot be deployed any more"));
                continue;
            }
            let image = self.world.engine.image_id(LAST);
            let truths = self.world.engine.truths();
            for (_, id) in self.world.proxy.serving(&super::client::name(service)) {
                if !truths
                    .iter()
                    .any(|truth| truth.id == id && Some(&truth.image) == image.as_ref())
                {
                    self.world.violated(format!("{service} was deployed, and {id:.12} serves"));
                }
            }
        }
    }
}

/// The image of the last deploy.
const LAST: &str = "app:last";
