//! The README's table of settings says what `defaults.toml` says.

use std::collections::BTreeMap;

use crate::keys::{KEYS, variable};

/// The value of each key that has a default, as `defaults.toml` writes it, without the quotes.
fn defaults() -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in crate::DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, value)) = line.split_once(" = ") {
            found.insert(format!("{section}{key}"), value.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn the_readme_has_every_key_with_its_variable_and_default() {
    let readme = include_str!("../../../README.md");
    let (_, table) = readme
        .split_once("| key | in the environment | default | what it is |")
        .unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: Vec<[String; 3]> = rows
        .map(|row| {
            let mut cells = row
                .split('|')
                .skip(1)
                .map(|cell| cell.trim().trim_matches('`').to_owned());
            std::array::from_fn(|_| cells.next().unwrap())
        })
        .collect();
    let defaults = defaults();
    let right: Vec<[String; 3]> = KEYS
        .iter()
        .map(|(key, _)| {
            [
                (*key).to_owned(),
                variable(key),
                defaults.get(*key).cloned().unwrap_or_default(),
            ]
        })
        .collect();
    assert_eq!(told, right);
}
