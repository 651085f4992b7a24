//! Which pool, and which of its endpoints, a request gets.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use http::header::COOKIE;

use crate::pool::hash::{fnv1a, mix};
use crate::pool::lease::Lease;
use crate::pool::view::endpoint::EndpointView;
use crate::pool::view::pool::PoolView;
use crate::pool::view::service::{ServiceView, ShareView};
use crate::table::{Balance, HashKey};

/// What a choice may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits<'a> {
    /// The client's address, as far as we believe it.
    pub(crate) client: IpAddr,
    /// The request's fields.
    pub(crate) headers: &'a HeaderMap,
    /// Path and query.
    pub(crate) target: &'a str,
}

/// A small generator of random numbers (xorshift64*), one per worker: choices need no secrecy.
#[derive(Debug)]
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    /// Starts from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// The next number.
    pub(crate) fn roll(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 where the bound is 0.
    fn below(&self, bound: usize) -> usize {
        // The high bits are the good ones; a bias of 2^-32 does not matter here.
        let roll = u128::from(self.roll() >> 32);
        usize::try_from((roll * bound as u128) >> 32).unwrap_or(0)
    }
}

/// Chooses a pool by weight and an endpoint by the service's policy.
///
/// `tried` are endpoints that already failed this request. `None` means that no endpoint is up, or
/// that all that are have been tried.
pub(crate) fn choose(
    service: &ServiceView,
    traits: &Traits<'_>,
    tried: &[Rc<EndpointView>],
    dice: &Dice,
    now: Duration,
) -> Option<Lease> {
    let balance = &service.context.settings.balance;
    let first = by_weight(service, dice)?;
    // A color without a fit endpoint leaves its share to the other.
    let others = service.shares.iter().enumerate().filter(|(place, _)| *place != first);
    let order = service.shares.get(first).into_iter().chain(others.map(|(_, share)| share));
    for share in order {
        let fit = Fit { tried, now, past_ejection: false };
        let endpoint = endpoint(&share.pool, balance, traits, fit, dice).or_else(|| {
            // All that are up are left out for now: better one of them than an error.
            endpoint(&share.pool, balance, traits, Fit { past_ejection: true, ..fit }, dice)
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
    let fit = Fit { tried, now, past_ejection: false };
    service
        .shares
        .iter()
        .any(|share| share.pool.endpoints.iter().any(|endpoint| fit.takes(endpoint)))
}

fn by_weight(service: &ServiceView, dice: &Dice) -> Option<usize> {
    match service.shares.as_slice() {
        [] => None,
        [_] => Some(0),
        shares => {
            let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
            let mut point = dice.below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
            shares.iter().position(|share| {
                let weight = u64::from(share.weight);
                let hit = point < weight;
                point = point.saturating_sub(weight);
                hit
            })
        }
    }
}

#[derive(Clone, Copy)]
struct Fit<'a> {
    tried: &'a [Rc<EndpointView>],
    now: Duration,
    past_ejection: bool,
}

impl Fit<'_> {
    fn takes(&self, endpoint: &Rc<EndpointView>) -> bool {
        endpoint.shared.is_up()
            && (self.past_ejection || !endpoint.shared.is_ejected(self.now))
            && !self.tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint))
    }
}

fn endpoint(
    pool: &PoolView,
    balance: &Balance,
    traits: &Traits<'_>,
    fit: Fit<'_>,
    dice: &Dice,
) -> Option<Rc<EndpointView>> {
    if let [only] = pool.endpoints.as_slice() {
        return fit.takes(only).then(|| Rc::clone(only));
    }
    let mut fitting = pool.endpoints.iter().filter(|endpoint| fit.takes(endpoint));
    let chosen = match balance {
        Balance::First => fitting.next(),
        Balance::Hash(key) => {
            let key = hash(key, traits);
            fitting.max_by_key(|endpoint| rendezvous(key, endpoint))
        }
        Balance::LeastConn => {
            let fitting: Vec<_> = fitting.collect();
            let least = fitting.iter().copied().min_by(|a, b| lighter(a, b))?;
            let ties = fitting.iter().copied().filter(|endpoint| lighter(endpoint, least).is_eq());
            draw(&ties.collect::<Vec<_>>(), dice)
        }
        Balance::P2c => {
            let mut fitting: Vec<_> = fitting.collect();
            let one = draw(&fitting, dice)?;
            fitting.retain(|endpoint| !Rc::ptr_eq(endpoint, one));
            let other = draw(&fitting, dice);
            // Of two that are equal, the first drawn: that is what makes weights count without load.
            Some(other.filter(|other| lighter(other, one).is_lt()).unwrap_or(one))
        }
        Balance::RoundRobin => {
            let start = pool.cursor.get();
            let count = pool.endpoints.len();
            let place = (0..count).map(|step| (start + step) % count).find(|place| {
                pool.endpoints.get(*place).is_some_and(|endpoint| fit.takes(endpoint))
            })?;
            pool.cursor.set(place + 1);
            pool.endpoints.get(place)
        }
        Balance::Weighted => weighted(pool, fit),
    };
    chosen.cloned()
}

/// Smooth weighted round robin: everyone earns its weight, the richest serves and pays the sum.
fn weighted<'a>(pool: &'a PoolView, fit: Fit<'_>) -> Option<&'a Rc<EndpointView>> {
    let mut credits = pool.credits.borrow_mut();
    let mut sum = 0;
    let mut richest: Option<(usize, i64)> = None;
    for (place, (endpoint, credit)) in pool.endpoints.iter().zip(credits.iter_mut()).enumerate() {
        if !fit.takes(endpoint) {
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
fn draw<'a>(from: &[&'a Rc<EndpointView>], dice: &Dice) -> Option<&'a Rc<EndpointView>> {
    let weight = |endpoint: &Rc<EndpointView>| endpoint.shared.weight as usize;
    let mut point = dice.below(from.iter().map(|endpoint| weight(endpoint)).sum());
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
fn rendezvous(key: u64, endpoint: &EndpointView) -> u64 {
    mix(key ^ endpoint.shared.seed)
}

fn hash(key: &HashKey, traits: &Traits<'_>) -> u64 {
    match key {
        HashKey::Cookie(name) => fnv1a(cookie(traits.headers, name).unwrap_or_default()),
        HashKey::Header(name) => fnv1a(
            traits.headers.get(name.as_str()).map(|value| value.as_bytes()).unwrap_or_default(),
        ),
        HashKey::Ip => match traits.client {
            IpAddr::V4(address) => fnv1a(&address.octets()),
            IpAddr::V6(address) => fnv1a(&address.octets()),
        },
        HashKey::Uri => fnv1a(traits.target.as_bytes()),
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs =
        headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    pairs
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}
