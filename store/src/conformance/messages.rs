//! x
use super::cases;

cases![placeholder];

async fn placeholder<W: super::World>(_: W) {}
