//! The published conformance suite, run on this project's own implementation.

use store::Store;
use store::conformance;
use store::testkit::{Test, TestDatabase};

pub(crate) fn tests() -> Vec<Test> {
    let on_both = |(module, case): (&str, conformance::Case<Store>)| {
        Test::on_both(
            format!("conformance::{module}::{}", case.name()),
            move |db: TestDatabase| {
                let case = case.clone();
                async move { case.run(db.store().await).await }
            },
        )
    };
    conformance::all::<Store>().into_iter().map(on_both).collect()
}
