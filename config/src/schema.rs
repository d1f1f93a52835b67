//! The shape of a configuration file, for editors: `config/schema.json` is generated from these types.
#![expect(
    dead_code,
    reason = "the types are read by schemars only; values are read key by key, so that every problem is found"
)]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use crate::{Driver, SslMode, Synchronous};

/// A duration: whole numbers with a unit, such as "250ms", "30s", "5m", "1h30m" or "2d"; at most 24 days.
#[derive(JsonSchema)]
struct DurationText(#[schemars(regex(pattern = r"^(\d+(ms|s|m|min|h|d)\s*)+$"))] String);

/// A size: a whole number with a unit, such as "512B", "64KiB", "16MiB" or "1GiB".
#[derive(JsonSchema)]
struct SizeText(#[schemars(regex(pattern = r"^\d+\s*(B|KiB|MiB|GiB)$"))] String);

/// Configuration of an Undercroft store (`store.toml`).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Undercroft configuration")]
pub(crate) struct ConfigFile {
    /// Which database. Follows from `path`, `url` or `host` when absent.
    driver: Option<Driver>,
    /// The SQLite file, or ":memory:". A missing file is created, and a missing directory too.
    path: Option<String>,
    /// `postgres://user:password@host:port/dbname` or `sqlite:file.db`, percent-encoded.
    url: Option<String>,
    /// A Postgres server's name or address, or the directory of its Unix socket; or several, separated by commas.
    host: Option<String>,
    /// The Postgres server's port; 5432 when absent.
    port: Option<u16>,
    /// The Postgres user.
    user: Option<String>,
    /// The Postgres user's password: any printable characters, as they are.
    password: Option<String>,
    /// A file that holds the password.
    password_file: Option<String>,
    /// The Postgres database; the user's name when absent.
    dbname: Option<String>,
    /// Whether opening the store applies pending migrations.
    auto_migrate: Option<bool>,
    /// The longest that one operation may take, retries and waiting included.
    operation_timeout: Option<DurationText>,
    /// Statements that take longer are logged at WARN.
    slow_statement: Option<DurationText>,
    /// The longest that one attempt to connect may take.
    connect_timeout: Option<DurationText>,
    /// How often connecting is tried again when the server is unreachable or still starting.
    #[schemars(range(max = 100))]
    connect_retry: Option<u32>,
    /// SQLite's tunables.
    sqlite: Option<SqliteSection>,
    /// Postgres's tunables.
    postgres: Option<PostgresSection>,
    /// The pools' tunables.
    pool: Option<PoolSection>,
    /// The secret vault's keys.
    vault: Option<VaultSection>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SqliteSection {
    /// How long a connection waits for another process's lock.
    busy_timeout: Option<DurationText>,
    /// What a commit survives.
    synchronous: Option<Synchronous>,
    /// Page cache of each connection.
    cache_size: Option<SizeText>,
    /// How much of the file is read through a memory map; "0B" switches it off.
    mmap_size: Option<SizeText>,
    /// Read-only connections beside the one writer; twice the number of processors, at most 8, when absent.
    #[schemars(range(min = 1, max = 64))]
    readers: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PostgresSection {
    /// How the connection is encrypted and the server checked.
    sslmode: Option<SslMode>,
    /// PEM file of those who may sign the server's certificate.
    ssl_root_cert: Option<String>,
    /// PEM file of the client's certificate; together with `ssl_client_key`.
    ssl_client_cert: Option<String>,
    /// PEM file of the client's key; together with `ssl_client_cert`.
    ssl_client_key: Option<String>,
    /// What pg_stat_activity shows.
    application_name: Option<String>,
    /// How long a statement waits for another transaction's locks; "0s" waits as long as the statement may take.
    lock_timeout: Option<DurationText>,
    /// The server ends a statement after this long; "0s" is no limit. `operation_timeout` when absent.
    statement_timeout: Option<DurationText>,
    /// Further server settings for each session, by name.
    options: Option<BTreeMap<String, String>>,
    /// Read replicas, as URLs, for reads that allow staleness.
    replicas: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PoolSection {
    /// The most connections of a Postgres pool.
    #[schemars(range(min = 1, max = 10_000))]
    max_connections: Option<u32>,
    /// How many connections a Postgres pool keeps open.
    #[schemars(range(max = 10_000))]
    min_connections: Option<u32>,
    /// How long a caller waits for a free connection.
    acquire_timeout: Option<DurationText>,
    /// A Postgres connection is closed after being idle this long; "0s" is never.
    idle_timeout: Option<DurationText>,
    /// A Postgres connection is closed when it is this old; "0s" is never.
    max_lifetime: Option<DurationText>,
    /// A Postgres connection that was idle for longer is checked before it is used.
    check_after_idle: Option<DurationText>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct VaultSection {
    /// The id of the key that seals new secrets; with a single key it is that one.
    active: Option<String>,
    /// Keys by id: 32 bytes each, in base64.
    keys: Option<BTreeMap<String, String>>,
    /// A file with one `id:base64` on each line.
    key_file: Option<String>,
}

/// The JSON schema of a configuration file, for editors and checks.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(ConfigFile).to_value()
}
