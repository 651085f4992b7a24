//! What tests of several rooms share. Not part of the product.

pub(crate) mod crash_points;
pub(crate) mod host_clock;
