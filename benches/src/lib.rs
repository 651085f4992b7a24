//! Side-by-side comparison of Cutover with the proxies its users come from, and other benches.
//!
//! One figure decides: nanoseconds on a processor of the proxy's whole process tree for each
//! completed request, against `HAProxy` in the same round. Rounds are short and interleaved because a
//! machine drifts by more than the proxies differ. The modules, the upper layers first:
//! [`compare`] runs the rounds, [`report`] prints them and [`chart`] draws them, [`proxy`] starts a
//! [`peer`], [`load`] loads it (with `wrk`, or with [`generator`]), [`upstream`] is the app behind it,
//! [`rig`] places processes, [`cpu`] and [`memory`] read what they used. [`probes`] measures the
//! controller alone, [`drill`] what clients see of many flips, [`instructions`] compares the counts of
//! the benches in `benches/`.

pub mod case;
pub mod chart;
pub mod client;
pub mod compare;
pub mod control;
pub mod cpu;
pub mod drill;
pub mod fleet;
pub mod generator;
pub mod idle;
pub mod instructions;
pub mod load;
pub mod memory;
pub mod peer;
pub mod probes;
pub mod proxy;
pub mod report;
pub mod rig;
pub mod summary;
pub mod upstream;
