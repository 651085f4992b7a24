//! Which endpoints get requests.

use crate::engine::WorkloadId;
use crate::state::ContainerEndpoint;
use cutover_proxy::table::{Color, ServiceName};

use super::{Endpoint, EndpointKey, State};

impl State {
    /// Whether an endpoint gets requests when its color serves.
    #[must_use]
    pub(crate) fn up(&self, name: &ServiceName, color: Color, endpoint: &Endpoint) -> bool {
        self.is_well(name, color, endpoint) || self.up_by_force(name, color, endpoint)
    }

    /// Whether an endpoint gets requests only because its color was flipped to by force: nothing of
    /// the color is well, and nothing has been since.
    #[must_use]
    pub(crate) fn up_by_force(
        &self,
        name: &ServiceName,
        color: Color,
        endpoint: &Endpoint,
    ) -> bool {
        let forced = self.journal.services.get(name).is_some_and(|s| s.forced.contains(&color));
        let any_well = || self.endpoints(name, color).iter().any(|e| self.is_well(name, color, e));
        forced && self.weights(name).serves(color) && endpoint.address.is_some() && !any_well()
    }

    /// Whether requests to an endpoint can be answered, as far as is known: force overrides what a
    /// probe was told, but nobody is told anything where no connection is taken.
    pub(crate) fn can_answer(&self, name: &ServiceName, color: Color, endpoint: &Endpoint) -> bool {
        let key = (name.clone(), color, endpoint.id.clone());
        let unreachable = || self.health.get(&key).is_some_and(|health| health.is_unreachable());
        self.up(name, color, endpoint)
            && !(self.up_by_force(name, color, endpoint) && unreachable())
    }

    /// The endpoints whose probes pass, whatever Docker says of them.
    pub(crate) fn passing(&self) -> impl Iterator<Item = &EndpointKey> {
        self.health.iter().filter(|(_, health)| health.passes()).map(|(key, _)| key)
    }

    /// Whether a container passes its probes, and was not told to stop, whether it serves or not.
    pub(crate) fn is_ready(&self, found: &ContainerEndpoint) -> bool {
        let key = (found.service.clone(), found.color, found.id());
        let passes = self.health.get(&key).is_some_and(|health| health.passes());
        let doomed = self.observed.is_doomed(&WorkloadId::local(&found.container));
        passes && found.unwell.is_none() && !doomed
    }

    /// Whether probes and Docker find an endpoint fit to serve.
    fn is_well(&self, name: &ServiceName, color: Color, endpoint: &Endpoint) -> bool {
        let key = (name.clone(), color, endpoint.id.clone());
        let well = match self.health.get(&key) {
            Some(health) => health.up(),
            None => self.booting && self.weights(name).serves(color),
        };
        well && endpoint.unwell.is_none() && endpoint.address.is_some()
    }

    /// A probe of an endpoint has passed: once that makes it well, its color needs no force any
    /// more. Says whether it did until now.
    pub(crate) fn passed(&mut self, (service, color, id): &EndpointKey) -> bool {
        if !self.journal.services.get(service).is_some_and(|s| s.forced.contains(color)) {
            return false;
        }
        let endpoints = self.endpoints(service, *color);
        let well = endpoints.iter().any(|e| e.id == *id && self.is_well(service, *color, e));
        let state = self.journal.services.get_mut(service);
        well && state.is_some_and(|state| state.forced.remove(color))
    }
}
