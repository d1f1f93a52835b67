//! Which layer says where the database is.
//!
//! The rule, as `defaults.toml` states it: a layer that gives a place (`path`, `url`, `host`) replaces the place of the
//! layers below it as a whole; one that gives only `driver` drops a lower place for the other driver; one that gives
//! neither refines what is below. `password` and `password_file` are two forms of one thing, and so are `vault.keys` and
//! `vault.key_file`: the higher layer's form replaces the lower one's.

use figment::value::Value;

use crate::layers::{Layer, LayerValues, Merged};
use crate::{Driver, Problem, place};

const PLACES: [&str; 3] = ["path", "url", "host"];
const REFINEMENTS: [&str; 5] = ["port", "user", "password", "password_file", "dbname"];
/// Goes with the place: another cluster's replicas would answer with another cluster's rows.
const REPLICAS: &str = "postgres.replicas";
const FORMS: [(&str, &str); 2] = [("password", "password_file"), ("vault.keys", "vault.key_file")];

/// A key that a higher layer's place took out of force.
#[derive(Debug, Clone)]
pub(crate) struct Replaced {
    pub(crate) key: &'static str,
    pub(crate) label: String,
    pub(crate) by: String,
}

/// Takes out of the lower layers what a higher layer replaces.
pub(crate) fn replace(layers: &mut [LayerValues]) -> Vec<Replaced> {
    let mut replaced = vec![];
    for index in 0..layers.len() {
        let Some((lower, [own, ..])) = layers.split_at_mut_checked(index) else {
            break;
        };
        if let Some(place) = PLACES.iter().find(|key| own.values.contains_key(**key)) {
            drop_location(lower, &own.layer.label(place), &mut replaced);
        } else if let Some(driver) = own.values.get("driver").and_then(driver_word)
            && lower_driver(lower).is_some_and(|below| below != driver)
        {
            drop_location(lower, &own.layer.label("driver"), &mut replaced);
        }
        for (one, other) in FORMS {
            for (chosen, dropped) in [(one, other), (other, one)] {
                if own.values.contains_key(chosen) {
                    for layer in lower.iter_mut() {
                        layer.values.remove(dropped);
                    }
                }
            }
        }
    }
    replaced
}

fn drop_location(lower: &mut [LayerValues], by: &str, replaced: &mut Vec<Replaced>) {
    for layer in lower {
        for key in PLACES.into_iter().chain(REFINEMENTS).chain(["driver", REPLICAS]) {
            if layer.values.remove(key).is_some() {
                replaced.push(Replaced {
                    key,
                    label: layer.layer.label(key),
                    by: by.to_owned(),
                });
            }
        }
    }
}

fn driver_word(value: &Value) -> Option<Driver> {
    value.as_str()?.parse().ok()
}

/// The driver that the layers so far choose.
fn lower_driver(lower: &[LayerValues]) -> Option<Driver> {
    let find = |key: &str| lower.iter().rev().find_map(|layer| layer.values.get(key));
    if find("path").is_some() {
        return Some(Driver::Sqlite);
    }
    if find("host").is_some() {
        return Some(Driver::Postgres);
    }
    if let Some(url) = find("url") {
        return url.as_str().and_then(place::driver_of);
    }
    let refined = REFINEMENTS.iter().any(|key| find(key).is_some());
    find("driver")
        .and_then(driver_word)
        .or(refined.then_some(Driver::Postgres))
}

/// The driver in effect, and the key that decided it. Reports what contradicts it.
pub(crate) fn decide(
    merged: &Merged,
    driver: Option<Driver>,
    replaced: &[Replaced],
    problems: &mut Vec<Problem>,
) -> (Driver, &'static str) {
    let given: Vec<&'static str> = PLACES.into_iter().filter(|key| merged.get(key).is_some()).collect();
    let inferred = given
        .iter()
        .find_map(|key| place_driver(merged, key).map(|driver| (driver, *key)));
    one_place(merged, &given, problems);
    let (effective, because) = match (driver, inferred) {
        (Some(driver), Some((other, key))) if driver != other => {
            let message =
                format!("contradict each other: the driver is {driver}, the place is for {other}; remove one");
            problems.push(Problem::between(
                labelled(merged, "driver"),
                labelled(merged, key),
                message,
            ));
            return (driver, "driver");
        }
        (Some(driver), _) => (driver, "driver"),
        (None, Some(found)) => found,
        // A URL that chooses nothing is reported where it is parsed.
        (None, None) => (Driver::Sqlite, "default"),
    };
    match effective {
        Driver::Sqlite => only_postgres(merged, &given, because, problems),
        Driver::Postgres => server(merged, &given, replaced, problems),
    }
    (effective, because)
}

fn labelled(merged: &Merged, key: &'static str) -> (&'static str, String) {
    (key, merged.label(key))
}

fn place_driver(merged: &Merged, key: &str) -> Option<Driver> {
    match key {
        "path" => Some(Driver::Sqlite),
        "host" => Some(Driver::Postgres),
        _ => merged
            .get("url")
            .and_then(|(value, _)| value.as_str().and_then(place::driver_of)),
    }
}

fn one_place(merged: &Merged, given: &[&'static str], problems: &mut Vec<Problem>) {
    if let [first, others @ ..] = given {
        for other in others {
            let message = "both say where the database is; remove one";
            problems.push(Problem::between(
                labelled(merged, first),
                labelled(merged, other),
                message,
            ));
        }
    }
}

fn only_postgres(merged: &Merged, given: &[&'static str], because: &'static str, problems: &mut Vec<Problem>) {
    let chooser = given.first().copied().unwrap_or(because);
    for key in REFINEMENTS.into_iter().filter(|key| merged.get(key).is_some()) {
        if chooser == "default" {
            let message = "needs `host` or `url`: without them the store opens SQLite, which has no such setting";
            problems.push(Problem::new(key, merged.label(key), message));
        } else {
            let message = "contradict each other: the first is for Postgres only, the second chooses SQLite";
            problems.push(Problem::between(
                labelled(merged, key),
                labelled(merged, chooser),
                message,
            ));
        }
    }
}

fn server(merged: &Merged, given: &[&'static str], replaced: &[Replaced], problems: &mut Vec<Problem>) {
    if given.is_empty() {
        problems.push(Problem::new(
            "driver",
            merged.label("driver"),
            "postgres needs `url` or `host`; set one of them",
        ));
    }
    if given.contains(&"url") {
        for key in ["port", "user", "dbname"]
            .into_iter()
            .filter(|key| merged.get(key).is_some())
        {
            let message = "contradict each other: put it into the URL, or give `host` instead of the URL";
            problems.push(Problem::between(
                labelled(merged, key),
                labelled(merged, "url"),
                message,
            ));
        }
    } else if given.contains(&"host") && merged.get("user").is_none() {
        problems.push(missing_user(merged, replaced));
    }
}

fn missing_user(merged: &Merged, replaced: &[Replaced]) -> Problem {
    let mut message = "needs `user`: there is no default user".to_owned();
    if let Some(lost) = replaced.iter().find(|lost| lost.key == "user") {
        message = format!(
            "{message} (the one in {} was replaced as a whole by {})",
            lost.label, lost.by
        );
    }
    Problem::new("host", merged.label("host"), message)
}

/// Where relative paths of a key start.
pub(crate) fn base<'a>(layer: Option<&'a Layer>, current: &'a std::path::Path) -> std::path::PathBuf {
    let directory = layer.and_then(Layer::directory).unwrap_or(current);
    current.join(directory)
}
