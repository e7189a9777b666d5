//! The whole program as a value: built once from [`crate::config::Config`], served, drained.
