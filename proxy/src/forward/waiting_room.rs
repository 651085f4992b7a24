//! The waiting room: requests wait here while nothing can take them, or while they are paused.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Method;

use crate::message::reason::Reason;
use crate::metrics::counters::Counter;
use crate::pool::balance::{choose, choose_bound, has_other};
use crate::pool::balance_key::BalanceKey;
use crate::pool::lease::Lease;
use crate::pool::view::View;
use crate::pool::view::context::ServiceContext;
use crate::pool::view::endpoint::EndpointView;
use crate::pool::view::service::ServiceView;
use crate::table::Pause;
use crate::worker::Worker;

/// Finds an endpoint for one request, and waits for one while there is none.
///
/// It keeps no table: each look takes the live one, so that a request which has not been sent meets
/// the new pool.
#[derive(Debug)]
pub(crate) struct Seeker {
    worker: Rc<Worker>,
    service: Rc<ServiceContext>,
    /// What the first look found.
    first: Option<Lease>,
    waiting: Option<Waiting>,
    since: Instant,
    met_none: bool,
}

impl Seeker {
    /// A seeker for a request of `service` that came at `since`.
    pub(crate) fn new(worker: &Rc<Worker>, service: &Rc<ServiceContext>, since: Instant) -> Self {
        Self {
            worker: Rc::clone(worker),
            service: Rc::clone(service),
            first: None,
            waiting: None,
            since,
            met_none: false,
        }
    }

    /// The service, with the settings of the last look.
    pub(crate) fn service(&self) -> &Rc<ServiceContext> {
        &self.service
    }

    /// Takes a lease at once, if there is one, from the view that the request was routed by: no
    /// request sees half of a new table. `bound` is where a connection of this client leads to.
    pub(crate) fn look_first(
        &mut self,
        view: &View,
        method: &Method,
        key: &BalanceKey<'_>,
        bound: Option<&Rc<EndpointView>>,
    ) {
        self.first = self.look(view, method, key, &[], bound).ok();
    }

    /// Whether the last lease had to wait because there was no endpoint at all, tried or not.
    pub(crate) fn has_met_none(&self) -> bool {
        self.met_none
    }

    /// Whether an endpoint is well that is not among `tried`.
    pub(crate) fn has_other(&self, tried: &[Rc<EndpointView>]) -> bool {
        self.worker.with_view(|view| {
            let service = view.service(&self.service.settings.name);
            service.is_some_and(|service| has_other(service, tried, self.worker.uptime()))
        })
    }

    /// A lease on an endpoint that is not among `tried`. Where all have been tried, they are tried
    /// again after a short pause: nothing has been sent, so that a restart costs only time.
    ///
    /// # Errors
    /// When the time is up: `failure`, or [`Reason::NoEndpoint`] or [`Reason::Paused`];
    /// [`Reason::HoldFull`] when too many are waiting already.
    ///
    /// # Cancel safety
    /// Cancel safe; the place in the waiting room is given back.
    pub(crate) async fn lease(
        &mut self,
        method: &Method,
        key: &BalanceKey<'_>,
        tried: &mut Vec<Rc<EndpointView>>,
        failure: Reason,
    ) -> Result<Lease, Reason> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let worker = Rc::clone(&self.worker);
        self.met_none = false;
        loop {
            // Made before the look, so that a table between the look and the wait is not missed.
            let changed = worker.life.changed();
            let hold = self.service.settings.timeouts.hold;
            let looked = worker.with_view(|view| self.look(view, method, key, tried, None));
            let (limit, reason, nap) = match looked {
                Ok(lease) => {
                    self.waiting = None;
                    return Ok(lease);
                }
                Err(Obstacle::Paused(pause)) => (pause.max_pause, Reason::Paused, LOOK_AGAIN),
                Err(Obstacle::NoEndpoint) if tried.is_empty() => {
                    self.met_none = true;
                    (hold, Reason::NoEndpoint, LOOK_AGAIN)
                }
                Err(Obstacle::NoEndpoint) => (hold, failure, RETRY_PAUSE),
            };
            let patience = limit.saturating_sub(self.since.elapsed());
            if patience.is_zero() {
                return Err(reason);
            }
            tried.clear();
            worker.with_view(|view| self.enter(view))?;
            worker.timers.timeout(nap.min(patience), changed).await;
        }
    }

    fn look(
        &mut self,
        view: &View,
        method: &Method,
        key: &BalanceKey<'_>,
        tried: &[Rc<EndpointView>],
        bound: Option<&Rc<EndpointView>>,
    ) -> Result<Lease, Obstacle> {
        let service = self.renew(view).ok_or(Obstacle::NoEndpoint)?;
        if let Some(pause) = service.context.settings.pause
            && !(pause.writes_only && method.is_safe())
        {
            return Err(Obstacle::Paused(pause));
        }
        bound
            .and_then(|endpoint| choose_bound(service, endpoint))
            .or_else(|| choose(service, key, tried, &self.worker.random, self.worker.uptime()))
            .ok_or(Obstacle::NoEndpoint)
    }

    /// Finds the service in a view; its settings may have changed with the table.
    fn renew<'v>(&mut self, view: &'v View) -> Option<&'v ServiceView> {
        let service = view.service(&self.service.settings.name)?;
        if !Rc::ptr_eq(&service.context, &self.service) {
            self.service = Rc::clone(&service.context);
        }
        Some(service)
    }

    fn enter(&mut self, view: &View) -> Result<(), Reason> {
        if self.waiting.is_some() {
            return Ok(());
        }
        let limit = view.table.policy.limits.max_waiting;
        if self.service.counters.waiting() >= limit as u64 {
            return Err(Reason::HoldFull);
        }
        self.service.slot.held.add(1);
        self.waiting = Some(Waiting::new(&self.service));
        Ok(())
    }
}

/// How long a retry waits before it tries the same endpoints again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a waiting request looks without being woken: ejections end by the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

enum Obstacle {
    NoEndpoint,
    Paused(Pause),
}

/// A place in the waiting room.
#[derive(Debug)]
struct Waiting(Rc<ServiceContext>);

impl Waiting {
    fn new(service: &Rc<ServiceContext>) -> Self {
        Self::gauge(service).add(1);
        Self(Rc::clone(service))
    }

    fn gauge(service: &ServiceContext) -> &Counter {
        &service.slot.waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        Self::gauge(&self.0).sub(1);
    }
}
