//! Every key that a configuration may hold.

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value.
    One,
    /// One value that never prints.
    Secret,
    /// A list whose items never print whole; in the environment separated by spaces.
    List,
    /// A table; in the environment items separated by spaces, name and value by this character.
    Table(char),
}

/// The keys in the order of `defaults.toml`.
pub(crate) const KEYS: &[(&str, Shape)] = &[
    ("driver", Shape::One),
    ("path", Shape::One),
    ("url", Shape::Secret),
    ("host", Shape::One),
    ("port", Shape::One),
    ("user", Shape::One),
    ("password", Shape::Secret),
    ("password_file", Shape::One),
    ("dbname", Shape::One),
    ("auto_migrate", Shape::One),
    ("operation_timeout", Shape::One),
    ("slow_statement", Shape::One),
    ("connect_timeout", Shape::One),
    ("connect_retry", Shape::One),
    ("sqlite.busy_timeout", Shape::One),
    ("sqlite.synchronous", Shape::One),
    ("sqlite.cache_size", Shape::One),
    ("sqlite.mmap_size", Shape::One),
    ("sqlite.readers", Shape::One),
    ("postgres.sslmode", Shape::One),
    ("postgres.ssl_root_cert", Shape::One),
    ("postgres.ssl_client_cert", Shape::One),
    ("postgres.ssl_client_key", Shape::One),
    ("postgres.application_name", Shape::One),
    ("postgres.lock_timeout", Shape::One),
    ("postgres.statement_timeout", Shape::One),
    ("postgres.options", Shape::Table('=')),
    ("postgres.replicas", Shape::List),
    ("pool.max_connections", Shape::One),
    ("pool.min_connections", Shape::One),
    ("pool.acquire_timeout", Shape::One),
    ("pool.idle_timeout", Shape::One),
    ("pool.max_lifetime", Shape::One),
    ("pool.check_after_idle", Shape::One),
    ("vault.active", Shape::One),
    ("vault.keys", Shape::Table(':')),
    ("vault.key_file", Shape::One),
];

/// The key's shape; `None` for an unknown key.
pub(crate) fn shape(key: &str) -> Option<Shape> {
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, shape)| *shape)
}

/// Whether the value never prints as it is.
pub(crate) fn is_secret(key: &str) -> bool {
    matches!(key, "url" | "password" | "postgres.replicas" | "vault.keys")
}

/// Whether the name is a section such as `sqlite`.
pub(crate) fn is_section(name: &str) -> bool {
    KEYS.iter()
        .any(|(key, _)| key.split_once('.').is_some_and(|(section, _)| section == name))
}

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("STORE_{}", key.replace('.', "__").to_uppercase())
}

/// The known key that a misspelt one most likely means.
pub(crate) fn nearest(key: &str) -> Option<&'static str> {
    // A right name in the wrong section is as likely as a slip of the finger.
    let last = key.rsplit('.').next().unwrap_or(key);
    let score = |name: &str| {
        let tail = name.rsplit('.').next().unwrap_or(name);
        strsim::jaro_winkler(key, name).max(if tail == last { 0.95 } else { 0.0 })
    };
    KEYS.iter()
        .map(|(name, _)| (score(name), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score >= 0.8)
        .map(|(_, name)| name)
}
