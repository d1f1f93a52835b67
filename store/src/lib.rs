//! store

#[cfg(feature = "testkit")]
pub mod testkit;
