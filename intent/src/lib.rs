//! Payload bytes to what they would do.

pub mod model;
