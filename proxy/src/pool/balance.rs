//! Which pool, and which of its endpoints, a request gets.

use std::rc::Rc;
use std::time::Duration;

use crate::pool::balance_key::BalanceKey;
use crate::pool::hash::mix;
use crate::pool::lease::Lease;
use crate::pool::random::Random;
use crate::pool::view::endpoint::EndpointView;
use crate::pool::view::pool::PoolView;
use crate::pool::view::service::{ServiceView, ShareView};
use crate::table::Balance;

/// Chooses a pool by weight and an endpoint by the service's policy.
///
/// `tried` are endpoints that already failed this request. `None` means that no endpoint is up, or
/// that all that are have been tried.
pub(crate) fn choose(
    service: &ServiceView,
    key: &BalanceKey<'_>,
    tried: &[Rc<EndpointView>],
    random: &Random,
    now: Duration,
) -> Option<Lease> {
    let balance = &service.context.settings.balance;
    let first = by_weight(service, random)?;
    // A color without an eligible endpoint leaves its share to the other.
    let others = service.shares.iter().enumerate().filter(|(place, _)| *place != first);
    let order = service.shares.get(first).into_iter().chain(others.map(|(_, share)| share));
    for share in order {
        let eligible = Eligible { tried, now, past_ejection: false };
        let endpoint = endpoint(&share.pool, balance, key, eligible, random).or_else(|| {
            // All that are up are left out for now: better one of them than an error.
            endpoint(
                &share.pool,
                balance,
                key,
                Eligible { past_ejection: true, ..eligible },
                random,
            )
        });
        if let Some(endpoint) = endpoint {
            return Some(Lease::new(&service.context, &share.pool, endpoint));
        }
    }
    None
}

/// A lease on one certain endpoint; `None` if it does not serve, or is not up.
pub(crate) fn choose_bound(service: &ServiceView, endpoint: &Rc<EndpointView>) -> Option<Lease> {
    let serves =
        |share: &&ShareView| share.pool.endpoints.iter().any(|other| Rc::ptr_eq(other, endpoint));
    let share = service.shares.iter().find(serves).filter(|_| endpoint.shared.is_up())?;
    Some(Lease::new(&service.context, &share.pool, Rc::clone(endpoint)))
}

/// Whether an endpoint of the service is well and not among `tried`.
pub(crate) fn has_other(service: &ServiceView, tried: &[Rc<EndpointView>], now: Duration) -> bool {
    let eligible = Eligible { tried, now, past_ejection: false };
    service
        .shares
        .iter()
        .any(|share| share.pool.endpoints.iter().any(|endpoint| eligible.includes(endpoint)))
}

fn by_weight(service: &ServiceView, random: &Random) -> Option<usize> {
    match service.shares.as_slice() {
        [] => None,
        [_] => Some(0),
        shares => {
            let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
            let mut point = random.below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
            shares.iter().position(|share| {
                let weight = u64::from(share.weight);
                let hit = point < weight;
                point = point.saturating_sub(weight);
                hit
            })
        }
    }
}

/// Which endpoints may be chosen.
#[derive(Clone, Copy)]
struct Eligible<'a> {
    tried: &'a [Rc<EndpointView>],
    now: Duration,
    /// Whether those that are left out may be chosen too.
    past_ejection: bool,
}

impl Eligible<'_> {
    fn includes(&self, endpoint: &Rc<EndpointView>) -> bool {
        endpoint.shared.is_up()
            && (self.past_ejection || !endpoint.shared.is_ejected(self.now))
            && !self.tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint))
    }
}

fn endpoint(
    pool: &PoolView,
    balance: &Balance,
    key: &BalanceKey<'_>,
    eligible: Eligible<'_>,
    random: &Random,
) -> Option<Rc<EndpointView>> {
    if let [only] = pool.endpoints.as_slice() {
        return eligible.includes(only).then(|| Rc::clone(only));
    }
    let mut candidates = pool.endpoints.iter().filter(|endpoint| eligible.includes(endpoint));
    let chosen = match balance {
        Balance::First => candidates.next(),
        Balance::Hash(part) => {
            let hash = key.hash(part);
            candidates.max_by_key(|endpoint| rendezvous(hash, endpoint))
        }
        Balance::LeastConn => {
            let candidates: Vec<_> = candidates.collect();
            let least = candidates.iter().copied().min_by(|a, b| lighter(a, b))?;
            let ties =
                candidates.iter().copied().filter(|endpoint| lighter(endpoint, least).is_eq());
            draw(&ties.collect::<Vec<_>>(), random)
        }
        Balance::P2c => {
            let mut candidates: Vec<_> = candidates.collect();
            let one = draw(&candidates, random)?;
            candidates.retain(|endpoint| !Rc::ptr_eq(endpoint, one));
            let other = draw(&candidates, random);
            // Of two that are equal, the first drawn: that is what makes weights count without load.
            Some(other.filter(|other| lighter(other, one).is_lt()).unwrap_or(one))
        }
        Balance::RoundRobin => {
            let start = pool.cursor.get();
            let count = pool.endpoints.len();
            let place = (0..count).map(|step| (start + step) % count).find(|place| {
                pool.endpoints.get(*place).is_some_and(|endpoint| eligible.includes(endpoint))
            })?;
            pool.cursor.set(place + 1);
            pool.endpoints.get(place)
        }
        Balance::Weighted => weighted(pool, eligible),
    };
    chosen.cloned()
}

/// Smooth weighted round robin: everyone earns its weight, the richest serves and pays the sum.
fn weighted<'a>(pool: &'a PoolView, eligible: Eligible<'_>) -> Option<&'a Rc<EndpointView>> {
    let mut credits = pool.credits.borrow_mut();
    let mut sum = 0;
    let mut richest: Option<(usize, i64)> = None;
    for (place, (endpoint, credit)) in pool.endpoints.iter().zip(credits.iter_mut()).enumerate() {
        if !eligible.includes(endpoint) {
            continue;
        }
        let weight = i64::from(endpoint.shared.weight);
        sum += weight;
        *credit += weight;
        if richest.is_none_or(|(_, most)| *credit > most) {
            richest = Some((place, *credit));
        }
    }
    let (place, _) = richest?;
    if let Some(credit) = credits.get_mut(place) {
        *credit -= sum;
    }
    pool.endpoints.get(place)
}

/// One of them, each as likely as its weight.
fn draw<'a>(from: &[&'a Rc<EndpointView>], random: &Random) -> Option<&'a Rc<EndpointView>> {
    let weight = |endpoint: &Rc<EndpointView>| endpoint.shared.weight as usize;
    let mut point = random.below(from.iter().map(|endpoint| weight(endpoint)).sum());
    let drawn = from.iter().find(|endpoint| {
        let hit = point < weight(endpoint);
        point = point.saturating_sub(weight(endpoint));
        hit
    });
    drawn.or_else(|| from.first()).copied()
}

/// Compares the load per weight, without division.
fn lighter(a: &EndpointView, b: &EndpointView) -> std::cmp::Ordering {
    let cost = |of: &EndpointView, by: &EndpointView| {
        u128::from(of.shared.total_load()) * u128::from(by.shared.weight)
    };
    cost(a, b).cmp(&cost(b, a))
}

/// Highest random weight (rendezvous) hashing: when an endpoint goes, only its own keys move.
fn rendezvous(hash: u64, endpoint: &EndpointView) -> u64 {
    mix(hash ^ endpoint.shared.seed)
}
