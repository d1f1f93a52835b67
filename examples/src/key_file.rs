//! A vault key for programs that nobody has configured one for.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use store::DatabaseConfig;

/// Where the vault's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The configuration names it.
    Configuration,
    /// A file made by an earlier run.
    Found(PathBuf),
    /// A file made now.
    Made(PathBuf),
    /// Made now and kept nowhere, like the database in memory.
    Thrown,
}

/// The configuration as layers and environment have it, completed by a vault key where they give none: one in a file
/// `vault.keys` that only its owner may read, beside the SQLite file, or in the user's data directory for Postgres.
///
/// # Errors
/// A wrong configuration; a key file that cannot be made or read.
pub fn configured() -> Result<(DatabaseConfig, KeySource), Box<dyn Error>> {
    let config = DatabaseConfig::load()?;
    if config.vault.is_some() {
        return Ok((config, KeySource::Configuration));
    }
    if config.is_memory() {
        let keys = BTreeMap::from([random_key()?]);
        return Ok((
            DatabaseConfig::loader().set("vault.keys", keys).load()?,
            KeySource::Thrown,
        ));
    }
    let path = directory(&config)?.join("vault.keys");
    let made = make(&path).map_err(|error| format!("cannot make the vault's key file {}: {error}", path.display()))?;
    let config = DatabaseConfig::loader().set("vault.key_file", &path).load()?;
    Ok((
        config,
        if made {
            KeySource::Made(path)
        } else {
            KeySource::Found(path)
        },
    ))
}

fn directory(config: &DatabaseConfig) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(directory) = config.sqlite_path().and_then(Path::parent) {
        return Ok(directory.to_owned());
    }
    // Where the store would put a database if nothing were configured.
    let home = std::env::vars_os().filter(|(name, _)| name == "XDG_DATA_HOME");
    let default = DatabaseConfig::loader().no_file().environment(home).load();
    let directory = default
        .ok()
        .and_then(|config| Some(config.sqlite_path()?.parent()?.to_owned()));
    Ok(directory.ok_or("there is no home directory to keep a vault key in; set STORE_VAULT__KEY_FILE")?)
}

/// Makes the file if it is not there, and tells whether it did. It appears whole or not at all, also when two programs
/// make it at once.
fn make(path: &Path) -> std::io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    private_directory(directory)?;
    let (id, key) = random_key()?;
    // `tempfile` makes files that only their owner may read.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(
        file,
        "# Opens the secrets in the database. Keep a copy in a safe place: without it they are lost."
    )?;
    writeln!(file, "{id}:{key}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// A key under an id of its own, so that another key is never taken for it.
fn random_key() -> std::io::Result<(String, String)> {
    let (mut id, mut key) = ([0; 4], [0; 32]);
    for bytes in [&mut id[..], &mut key[..]] {
        getrandom::fill(bytes).map_err(std::io::Error::other)?;
    }
    Ok((format!("made-{}", hex::encode(id)), STANDARD.encode(key)))
}

fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/vault.keys");
        assert!(make(&path).unwrap());
        let first = fs::read_to_string(&path).unwrap();
        assert!(!make(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        }
        let config = DatabaseConfig::loader()
            .no_file()
            .no_environment()
            .set("path", ":memory:");
        let config = config.set("vault.key_file", &path).load().unwrap();
        assert!(config.vault.unwrap().active().starts_with("made-"));
    }
}
