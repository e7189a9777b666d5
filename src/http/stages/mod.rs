//! What every request passes, from the outside in. `http::router` stacks them on one screen.

pub mod envelope;
pub mod limits;
pub mod local;
pub mod origin;
