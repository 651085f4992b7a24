//! What the controller tells about itself: the types of the control API.

pub use cutover_api::{
    ColorStatus, ConfigStatus, DrainStatus, EndpointStatus, LeftOut, ProxyStatus, ServiceStatus,
    Status,
};
