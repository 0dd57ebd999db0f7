//! One transaction for a whole request.

pub(crate) mod error;
mod hints;
pub(crate) mod layer;
mod name;
pub(crate) mod request_tx;
pub(crate) mod route;
mod settings;
mod slot;
