//! The files that belong to the crate, and the files that a user names.

use std::collections::BTreeSet;

use super::{bare, value_of, with_file, wrong};
use crate::{DEFAULTS, DatabaseConfig, json_schema, keys};

#[test]
fn the_named_file_must_exist() {
    let error = wrong(bare().file("/no/such/store.toml").load());
    assert!(error.contains("cannot read /no/such/store.toml"), "{error}");
    let load = |value: &str| DatabaseConfig::loader().environment([("STORE_CONFIG", value)]).load();
    assert!(wrong(load("/no/such.toml")).contains("cannot read /no/such.toml"));
    assert!(wrong(load("")).contains("STORE_CONFIG is set but empty"));
    let (dir, _) = with_file("path = ':memory:'\n");
    assert!(
        load(dir.path().join("store.toml").to_str().unwrap())
            .unwrap()
            .is_memory()
    );
}

#[test]
fn a_file_is_found_in_the_current_directory_or_not_at_all() {
    let (_dir, loader) = with_file("path = ':memory:'\n");
    assert!(loader.clone().load().unwrap().is_memory());
    let empty = tempfile::tempdir().unwrap();
    assert!(!loader.directory(empty.path()).load().unwrap().is_memory());
}

#[test]
fn broken_toml_names_the_line_and_not_its_content() {
    let (_dir, loader) = with_file("host = 'h'\nuser = 'u'\npassword = \"hunter2\n");
    let error = wrong(loader.load());
    assert!(error.contains("store.toml is not valid TOML: line 3"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

/// The examples behind `#` as well as the defaults.
fn uncommented() -> String {
    let key = |line: &str| {
        let name = line.strip_prefix('#')?.split_once(" = ")?.0;
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c == '_')
            .then(|| line[1..].to_owned())
    };
    DEFAULTS
        .lines()
        .map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

fn leaves(toml: &str) -> BTreeSet<String> {
    use figment::providers::{Format, Toml};
    let dict: figment::value::Dict = Toml::from_str(toml).unwrap();
    let mut problems = vec![];
    let values = crate::layers::LayerValues::from_dict(crate::layers::Layer::Code, dict, &mut problems);
    assert_eq!(problems, []);
    values.values.into_keys().collect()
}

#[test]
fn the_defaults_name_every_key_and_no_other() {
    let known: BTreeSet<String> = keys::KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(leaves(&uncommented()), known);
}

#[test]
fn the_defaults_are_what_is_in_effect() {
    use figment::providers::{Format, Toml};
    let config = DatabaseConfig::memory();
    let dict: figment::value::Dict = Toml::from_str(DEFAULTS).unwrap();
    let root = figment::value::Value::from(dict);
    for key in leaves(DEFAULTS) {
        let written = match root.find_ref(&key).unwrap() {
            figment::value::Value::String(_, text) => text.clone(),
            figment::value::Value::Bool(_, yes) => yes.to_string(),
            other => other
                .to_i128()
                .or_else(|| other.to_u128().and_then(|n| n.try_into().ok()))
                .unwrap()
                .to_string(),
        };
        assert_eq!(value_of(&config, &key), Some(written), "{key}");
    }
}

#[test]
fn the_examples_in_the_defaults_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["ca.pem", "client.pem", "client.key", "undercroft"] {
        std::fs::write(dir.path().join(file), "x").unwrap();
    }
    let drop = |keys: &[&str]| -> String {
        let given = uncommented().replace("/run/secrets/", "");
        given
            .lines()
            .filter(|line| !keys.iter().any(|key| line.starts_with(&format!("{key} ="))))
            .map(|l| format!("{l}\n"))
            .collect()
    };
    for toml in [
        drop(&["driver", "path", "url", "password_file", "key_file"]),
        drop(&[
            "driver", "path", "host", "port", "user", "dbname", "password", "key_file",
        ]),
        drop(&[
            "url",
            "host",
            "port",
            "user",
            "dbname",
            "password",
            "password_file",
            "key_file",
        ]),
    ] {
        std::fs::write(dir.path().join("store.toml"), &toml).unwrap();
        bare()
            .file(dir.path().join("store.toml"))
            .load()
            .unwrap_or_else(|error| panic!("{error}\n{toml}"));
    }
}

#[test]
fn the_schema_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json");
    let fresh = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == fresh,
        "config/schema.json is stale; run `UPDATE_SCHEMA=1 cargo test -p config` and commit it"
    );
}

#[test]
fn the_schema_knows_every_key_and_no_other() {
    let schema = json_schema();
    let mut found = BTreeSet::new();
    for (name, property) in schema["properties"].as_object().unwrap() {
        let reference = property["anyOf"][0]["$ref"].as_str().unwrap_or_default();
        let inner = reference
            .rsplit('/')
            .next()
            .and_then(|section| schema["$defs"][section]["properties"].as_object());
        match inner {
            Some(inner) => found.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            None => drop(found.insert(name.clone())),
        }
    }
    let known: BTreeSet<String> = keys::KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(found, known);
}
