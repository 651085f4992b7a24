//! Side-by-side comparison of Cutover with the proxies its users come from.
//!
//! One figure decides: nanoseconds on a processor of the proxy's whole process tree for each
//! completed request, against `HAProxy` in the same round. Rounds are short and interleaved because a
//! machine drifts by more than the proxies differ. The modules, the upper layers first:
//! [`compare`] runs the rounds, [`report`] prints them, [`peer`] starts a proxy, [`load`] loads it
//! (with `wrk`, or with [`generator`]), [`upstream`] is the app behind it, [`rig`] places processes
//! and [`cpu`] reads what they used. [`probes`] measures the controller alone.

pub mod case;
pub mod compare;
pub mod cpu;
pub mod generator;
pub mod load;
pub mod peer;
pub mod probes;
pub mod report;
pub mod rig;
pub mod upstream;
