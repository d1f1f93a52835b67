//! The databases that the contenders meet on: seeded once, copied for whoever changes them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::contender::{Place, limit_postgres};
use crate::data::SEED_VERSION;
use crate::plan::{Backend, Who};
use crate::server::Server;
use crate::{Result, seed, sql};

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or(here, PathBuf::from)
}

/// The directory with the databases, and the Postgres server when one is needed.
pub(crate) struct Arena {
    dir: PathBuf,
    server: Option<Server>,
    /// Databases to drop when all is done.
    made: Vec<String>,
}

impl Arena {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("seeds"))?;
        let dir = dir.canonicalize()?;
        if in_memory(&dir) {
            return Err(format!("{} is in memory; give --dir on a disk", dir.display()).into());
        }
        // What a killed run has left.
        let _ = fs::remove_dir_all(dir.join("run"));
        fs::create_dir_all(dir.join("run"))?;
        Ok(Self {
            dir,
            server: None,
            made: vec![],
        })
    }

    /// The database of a contender. Contenders who only read share one, and so do all on Postgres.
    pub(crate) async fn place(&mut self, backend: Backend, rows: u64, who: Who, writes: bool) -> Result<Place> {
        match backend {
            Backend::Sqlite => Ok(Place::File(self.file(rows, who, writes).await?)),
            Backend::Postgres => Ok(Place::Server(self.database(rows).await?)),
        }
    }

    async fn file(&self, rows: u64, who: Who, writes: bool) -> Result<PathBuf> {
        let seed = self.seeded_file(rows).await?;
        // A newcomer's file has the rollback journal that SQLite begins with.
        let rollback = matches!(who, Who::Newcomer | Who::NewcomerTen);
        let name = match (writes, rollback) {
            (true, _) => format!("{rows}-{who:?}.db"),
            (false, true) => format!("{rows}-rollback.db"),
            (false, false) => format!("{rows}.db"),
        };
        let path = self.dir.join("run").join(name);
        if !path.exists() {
            fs::copy(&seed, &path)?;
            if rollback {
                rusqlite::Connection::open(&path)?.execute_batch("PRAGMA journal_mode = DELETE")?;
            }
            // Or the disk would still be busy with it while somebody is measured.
            fs::File::open(&path)?.sync_all()?;
        }
        Ok(path)
    }

    async fn seeded_file(&self, rows: u64) -> Result<PathBuf> {
        let seed = self.dir.join("seeds").join(format!("v{SEED_VERSION}-{rows}.db"));
        if !seed.exists() {
            let part = seed.with_extension("part");
            let _ = fs::remove_file(&part);
            seed::sqlite(&part, rows).await?;
            fs::rename(&part, &seed)?;
        }
        // Migrations that are newer than the seed, or the word that the two do not fit.
        let store = store::Store::open(store::DatabaseConfig::sqlite(&seed)?).await?;
        store.close().await?;
        Ok(seed)
    }

    /// The server, started when it is first needed.
    fn server(&mut self) -> Result<&Server> {
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::start(&self.dir)?,
        };
        Ok(self.server.insert(server))
    }

    /// The server's version, and whether its commits are durable.
    pub(crate) async fn postgres_version(&mut self) -> Result<String> {
        let admin = limit_postgres::connect(&self.server()?.maintenance()).await?;
        let mut settings = Vec::new();
        for name in ["server_version", "fsync", "synchronous_commit"] {
            let value: String = admin.query_one(&format!("SHOW {name}"), &[]).await?.try_get(0)?;
            settings.push(value);
        }
        let [version, fsync, commit] = settings.as_slice() else {
            return Err("the server tells too little about itself".into());
        };
        if (fsync.as_str(), commit.as_str()) != ("on", "on") {
            eprintln!("warning: this server does not wait for its disk (fsync {fsync}, synchronous_commit {commit})");
        }
        Ok(format!("{version} (fsync {fsync}, synchronous_commit {commit})"))
    }

    async fn database(&mut self, rows: u64) -> Result<String> {
        let (seed, run) = (
            format!("bench_seed_v{SEED_VERSION}_{rows}"),
            format!("bench_run_{rows}"),
        );
        let (seed_url, run_url) = (self.server()?.url(&seed), self.server()?.url(&run));
        if self.made.contains(&run) {
            return Ok(run_url);
        }
        let admin = limit_postgres::connect(&self.server()?.maintenance()).await?;
        let found = "SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate";
        if admin.query_opt(found, &[&seed]).await?.is_none() {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {seed}")).await?;
            admin
                .batch_execute(&format!("CREATE DATABASE {seed} TEMPLATE template0"))
                .await?;
            seed::postgres(&seed_url, rows).await?;
            // The mark of a seed that is complete.
            admin
                .batch_execute(&format!("ALTER DATABASE {seed} IS_TEMPLATE true"))
                .await?;
        }
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {run} WITH (FORCE)"))
            .await?;
        let version: String = admin.query_one("SHOW server_version_num", &[]).await?.try_get(0)?;
        let strategy = if version.parse::<u32>()? >= 150_000 {
            "STRATEGY file_copy"
        } else {
            ""
        };
        // The seeding connections may still be closing; the server waits five seconds for them.
        admin
            .batch_execute(&format!("CREATE DATABASE {run} TEMPLATE {seed} {strategy}"))
            .await?;
        admin.batch_execute("CHECKPOINT").await?;
        self.made.push(run);
        Ok(run_url)
    }

    /// Makes the runs that were claimed pending again.
    pub(crate) async fn release_runs(&self, place: &Place) -> Result<()> {
        match place {
            Place::File(path) => {
                let db = rusqlite::Connection::open(path)?;
                db.busy_timeout(std::time::Duration::from_secs(5))?;
                db.execute(sql::RELEASE_RUNS, [])?;
            }
            Place::Server(url) => {
                let db = limit_postgres::connect(url).await?;
                db.batch_execute(sql::RELEASE_RUNS).await?;
                db.batch_execute("VACUUM workflow_runs").await?;
            }
        }
        Ok(())
    }

    /// Removes the copies of this size: they are large.
    pub(crate) async fn clear(&mut self, backend: Backend, rows: u64) -> Result<()> {
        if backend == Backend::Sqlite {
            for file in fs::read_dir(self.dir.join("run"))? {
                fs::remove_file(file?.path())?;
            }
            return Ok(());
        }
        let run = format!("bench_run_{rows}");
        if self.made.contains(&run) {
            let admin = limit_postgres::connect(&self.server()?.maintenance()).await?;
            admin
                .batch_execute(&format!("DROP DATABASE IF EXISTS {run} WITH (FORCE)"))
                .await?;
            self.made.retain(|made| *made != run);
        }
        Ok(())
    }
}

/// Whether a directory's files are in memory, where "durable" means nothing.
fn in_memory(dir: &Path) -> bool {
    let kind = nix::sys::statfs::statfs(dir).map(|stat| stat.filesystem_type());
    kind.is_ok_and(|kind| kind == nix::sys::statfs::TMPFS_MAGIC)
}
