//! The kit itself, seen from outside.
use std::process::ExitCode;
use store::testkit::TestDatabase;

store::testkit::tests![opens];

pub(crate) fn probe() -> Option<ExitCode> {
    None
}

async fn opens(db: TestDatabase) {
    db.config().connect().await.unwrap();
}
