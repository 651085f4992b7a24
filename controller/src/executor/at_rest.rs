//! The one place that makes the proof without which the engine stops nothing.

use cutover_proxy::table::ServiceName;
use cutover_rollout::Rest;

use super::Tools;
use super::steps::StepError;
use crate::engine::drained::Drained;

impl Tools {
    /// Proves that a container may be stopped: no table that is live names it, and nothing of it
    /// drains. `rest` is how it came to that, as the rollout knows.
    ///
    /// # Errors
    /// For now, while either does not hold.
    pub(super) fn at_rest(
        &self,
        service: &ServiceName,
        id: &str,
        rest: Rest,
    ) -> Result<Drained, StepError> {
        let (named, drains) = self
            .controller
            .state(|state| (state.names_container(service, id), state.drains.has(service, id)));
        match (named, drains) {
            (true, _) => Err(StepError::passing(format!("{id} serves {service}"))),
            (false, true) => Err(StepError::passing(format!("{id} has not drained yet"))),
            (false, false) => Ok(Drained::new(rest)),
        }
    }
}
