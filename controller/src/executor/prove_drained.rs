//! The one place that makes the proof without which the engine stops nothing.

use cutover_proxy::table::ServiceName;
use cutover_rollout::StopReason;

use super::Tools;
use super::steps::StepError;
use crate::engine::drained::Drained;
use crate::state::counted::is_busy;

impl Tools {
    /// Proves that a container may be stopped: no table that is live names it, nothing of it drains,
    /// and the proxy says that it has nothing in flight, for what we know of drains may have been lost
    /// with a controller before us. `reason` is how it came to that, as the rollout knows.
    ///
    /// # Errors
    /// For now, while either does not hold.
    pub(super) async fn prove_drained(
        &self,
        service: &ServiceName,
        id: &str,
        reason: StopReason,
    ) -> Result<Drained, StepError> {
        if reason != StopReason::NeverServed {
            let counted = self.controller.count().await?;
            if is_busy(&counted, service, id) {
                return Err(StepError::passing(format!("{id} has something in flight")));
            }
        }
        let (named, drains) = self
            .controller
            .state(|state| (state.names_container(service, id), state.drains().has(service, id)));
        // Before the first table of ours, what is live is what the journal says.
        let unknown = !self.controller.state(|state| state.is_published());
        match (named || unknown && self.serves(service, id), drains) {
            (true, _) => Err(StepError::passing(format!("{id} serves {service}"))),
            (false, true) => Err(StepError::passing(format!("{id} has not drained yet"))),
            (false, false) => Ok(Drained::new(reason)),
        }
    }
}
