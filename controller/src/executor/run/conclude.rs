//! The end of a rollout, told to the client and to the history.

use cutover_api::{Forced, Line, OldNew, PhaseTime, Report};
use cutover_proxy::table::ServiceName;
use cutover_rollout::{Ending, Verdict};

use super::Execution;
use crate::executor::report;
use crate::millis::millis;
use crate::state::counted::Counted;
use crate::state::history::Entry;
use crate::state::journal::Journal;
use crate::state::rollout::{Baseline, Part, Record};

impl Execution {
    /// Tells the client and writes the history; what remains is tidying.
    pub(super) async fn report(&mut self, verdict: Verdict) {
        let counted = self.count().await;
        let none = Counted::default();
        let mut ends = Vec::new();
        for service in self.record.services() {
            let now = counted.get(&service).unwrap_or(&none);
            let report = self.report_on(&service, &verdict, now);
            let part = self.record.reached(&service);
            ends.extend(part.zip(report).map(|(part, report)| {
                let release = self.record.release(part);
                (part.clone(), report, release)
            }));
        }
        self.tools.conclude(&ends).await;
        for (_, report, _) in ends {
            self.progress.send(Line::Report(report));
        }
        // The client reads to the end of its stream.
        self.progress.part();
    }

    fn report_on(&self, service: &ServiceName, verdict: &Verdict, now: &Counted) -> Option<Report> {
        let part = self.record.reached(service)?;
        let Baseline { before, at_flip } =
            self.record.figures.get(service).cloned().unwrap_or_default();
        let (old, new) = (at_flip.since(&before), now.since(&at_flip));
        let drained = self.record.drained.get(service).copied().unwrap_or_default();
        let quantile = |share| OldNew {
            old: old.color(part.from).quantile_ms(share),
            new: new.color(part.to).quantile_ms(share),
        };
        let spans = self.record.machine.spans().iter();
        let mut report = Report {
            forced: Forced { requests: drained.forced_requests, streams: drained.forced_streams },
            longest_drained_ms: millis(drained.longest),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            phases: spans.map(|span| PhaseTime { name: span.phase, ms: span.ms }).collect(),
            reason: reason(part, verdict),
            last_probe: self.probes.get(service).cloned().filter(|_| verdict.reason.is_some()),
            log: self.logs.get(service).cloned().unwrap_or_default(),
            at: self.record.at.clone(),
            by: self.record.by.clone(),
            duration_ms: self.now().0,
            ..report::about(part, self.record.kind, verdict.result)
        };
        report::fill(&mut report, &now.since(&before));
        Some(report)
    }
}

/// Writes into the history that the release serves, as soon as that is decided: while it drains, a
/// newer rollout may begin, and what is newer comes after it. Its report takes the entry's place.
pub(super) fn note_done(record: &Record, journal: &mut Journal) {
    for service in record.services() {
        let Some(part) = record.reached(&service).filter(|part| part.both.is_none()) else {
            continue;
        };
        let report = Report {
            at: record.at.clone(),
            by: record.by.clone(),
            ..report::about(part, record.kind, Ending::Done)
        };
        let state = journal.service_mut(&service);
        state.members.bring(part.to, part.revision);
        state.record(Entry::new(report, Some(record.release(part))));
    }
}

/// Why it did not go well. Where both colors serve, with what became of them.
fn reason(part: &Part, verdict: &Verdict) -> Option<String> {
    let reason = verdict.reason.as_deref()?;
    Some(match (part.both, verdict.result) {
        (Some(_), Ending::RolledBack) => {
            format!("{reason}; both colors are what they were before")
        }
        (Some(_), Ending::Failed) => {
            format!("{reason}; the colors may run different releases: `cutover status` shows them")
        }
        _ => reason.to_owned(),
    })
}
