//! The end of a rollout, told to the client and to the history.

use cutover_api::Line;

use super::Shell;
use crate::executor::actions::Outcome;
use crate::executor::record::Record;
use crate::executor::report::{self, Counted, Forced, OldNew, PhaseTime, Report};
use crate::millis::millis;

impl Shell {
    /// What the phases of a rollout took.
    pub(super) fn phases_of(&self, record: &Record) -> Vec<PhaseTime> {
        let spans = record.machine.spans().iter();
        spans.map(|span| PhaseTime { name: span.phase.into(), ms: span.ms }).collect()
    }

    /// Tells the client, writes the history, and lets the lock go.
    pub(super) async fn report(&mut self, outcome: Outcome) {
        // The other color is still to come, under the same lock; the report is on both.
        if self.record.follow_up(self.now()).is_some() {
            return;
        }
        let (parts, outcome) = self.record.verdict(outcome);
        let counted = self.count().await;
        let mut phases = self.phases.clone();
        phases.extend(self.phases_of(&self.record));
        for part in parts {
            let service = &part.service;
            let none = Counted::default();
            let before = self.before.get(service).unwrap_or(&none);
            let at_flip = self.at_flip.get(service).unwrap_or(&none);
            let now = counted.get(service).unwrap_or(&none);
            let old = at_flip.since(before);
            let new = now.since(at_flip);
            let drained = self.drained.get(service).copied().unwrap_or_default();
            let quantile = |share| OldNew {
                old: old.color(part.from).quantile_ms(share),
                new: new.color(part.to).quantile_ms(share),
            };
            let mut report = Report {
                forced: Forced {
                    requests: drained.forced_requests,
                    streams: drained.forced_streams,
                },
                longest_drained_ms: millis(drained.longest),
                p50_ms: quantile(0.5),
                p99_ms: quantile(0.99),
                phases: phases.clone(),
                reason: outcome.reason.clone(),
                last_probe: self.probes.get(service).cloned().filter(|_| outcome.reason.is_some()),
                log: self.words.get(service).cloned().unwrap_or_default(),
                at: self.record.at.clone(),
                by: self.record.by.clone(),
                duration_ms: millis(self.started.elapsed()),
                ..report::about(part, self.record.kind, outcome.result)
            };
            now.since(before).fill(&mut report);
            self.tools.conclude(part, &report, &self.record.release(part)).await;
            self.progress.send(Line::Report(report));
        }
        // The client reads to the end of its stream.
        self.progress.part();
        self.lock = None;
    }
}
