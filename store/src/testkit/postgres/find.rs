//! Looks for an installed Postgres.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::testkit::workdir;

const BIN: &str = "STORE_TEST_POSTGRES_BIN";
const OLDEST: u32 = 14;
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// The directory of the programs of an installed Postgres, or a line for each place that was looked at.
pub(crate) fn installed() -> Result<PathBuf, Vec<String>> {
    if let Some(named) = std::env::var_os(BIN) {
        return usable(Path::new(&named)).map_err(|why| vec![format!("{BIN}={}: {why}", named.display())]);
    }
    let mut tried = Vec::new();
    for (place, dirs) in places() {
        if dirs.is_empty() {
            tried.push(format!("{place}: nothing"));
        }
        for dir in dirs {
            match usable(&dir) {
                Ok(bin) => return Ok(bin),
                Err(why) => tried.push(format!("{place}: {why}")),
            }
        }
    }
    Err(tried)
}

/// Whether the variable names the programs: then nothing else will do.
pub(crate) fn is_named() -> bool {
    std::env::var_os(BIN).is_some()
}

fn places() -> [(String, Vec<PathBuf>); 5] {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .filter(|dir| dir.join("initdb").exists())
        .collect();
    let brought = workdir::target_dir()
        .map(|target| target.join("postgres"))
        .unwrap_or_default();
    let homebrew = ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"];
    let homebrew = homebrew
        .iter()
        .flat_map(|dir| versions(Path::new(dir), "postgresql"))
        .collect();
    [
        ("pg_config --bindir".to_owned(), pg_config().into_iter().collect()),
        ("PATH".to_owned(), on_path),
        (
            "/usr/lib/postgresql/*/bin".to_owned(),
            versions(Path::new("/usr/lib/postgresql"), ""),
        ),
        ("Homebrew".to_owned(), homebrew),
        (format!("{}/*/bin", brought.display()), versions(&brought, "")),
    ]
}

fn pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let dir = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| PathBuf::from(dir.trim_end()))
}

/// The `bin` directories of the versions below `dir`, the newest first.
fn versions(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| (first_number(&entry.file_name()), entry.path().join("bin")))
        .filter(|(_, bin)| bin.is_dir())
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, bin)| bin).collect()
}

fn first_number(name: &OsStr) -> u32 {
    let name = name.to_string_lossy();
    let digits = name
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap_or(0)
}

/// The real directory of the programs, when they are all there and run and are not too old.
fn usable(dir: &Path) -> Result<PathBuf, String> {
    // On PATH the programs may be links; the others are beside their targets.
    let initdb = dir.join("initdb");
    let initdb = fs::canonicalize(&initdb).map_err(|error| format!("{}: {error}", initdb.display()))?;
    let bin = initdb.parent().unwrap_or(dir).to_owned();
    if let Some(absent) = PROGRAMS.iter().find(|program| !bin.join(program).is_file()) {
        return Err(format!("{} has no {absent}", bin.display()));
    }
    let answer = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .map_err(|error| format!("{}/postgres does not run: {error}", bin.display()))?;
    if !answer.status.success() {
        let words = String::from_utf8_lossy(&answer.stderr);
        return Err(format!("{}/postgres does not run: {}", bin.display(), words.trim()));
    }
    let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if first_number(OsStr::new(&version)) < OLDEST {
        return Err(format!(
            "{} is {version}; {OLDEST} is the oldest that is supported",
            bin.display()
        ));
    }
    Ok(bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_numbers() {
        let names = [
            "9.6",
            "postgresql@17",
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
            "none",
        ];
        assert_eq!(names.map(|name| first_number(OsStr::new(name))), [9, 17, 15, 0]);
    }
}
