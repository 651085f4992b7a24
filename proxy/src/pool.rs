//! Pools and endpoints, and what a worker and a request keep of them.

pub(crate) mod balance;
pub(crate) mod balance_key;
pub(crate) mod binding;
pub(crate) mod compile;
mod endpoint;
mod hash;
mod idle;
mod in_flight;
pub(crate) mod lease;
#[expect(clippy::module_inception, reason = "the noun of the folder")]
mod pool;
pub(crate) mod ramp;
pub(crate) mod random;
mod retry_budget;
#[cfg(test)]
mod scale;
pub(crate) mod view;

pub(crate) use self::pool::Pool;
