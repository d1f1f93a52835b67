//! A Postgres server that keeps its word: with fsync, on a disk. The test kit's throwaway servers do without.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use url::Url;

use crate::Result;

const USER: &str = "bench";

/// A server: this program's own, which ends with it, or somebody else's.
pub(crate) struct Server {
    url: Url,
    own: Option<Own>,
}

struct Own {
    bin: PathBuf,
    home: PathBuf,
}

impl Server {
    /// The server of `STORE_TEST_POSTGRES_URL`, or one started below this directory. Its data stay for the next run.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        if let Ok(url) = std::env::var("STORE_TEST_POSTGRES_URL") {
            return Ok(Self {
                url: Url::parse(&url)?,
                own: None,
            });
        }
        let own = Own {
            bin: programs()?,
            home: home(dir)?,
        };
        let password = own.password()?;
        if !own.home.join("data/PG_VERSION").exists() {
            own.init()?;
        }
        // What a killed run has left running.
        own.stop();
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        own.boot(port)?;
        let url = Url::parse(&format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres"))?;
        Ok(Self { url, own: Some(own) })
    }

    /// The address of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.to_string()
    }

    /// Where databases are created from.
    pub(crate) fn maintenance(&self) -> String {
        self.url.to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            own.stop();
        }
    }
}

impl Own {
    fn password(&self) -> Result<String> {
        let file = self.home.join("password");
        if let Ok(password) = fs::read_to_string(&file) {
            return Ok(password);
        }
        let password = format!("{}{}", crate::data::new_id().simple(), crate::data::new_id().simple());
        fs::write(&file, &password)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        self.give(&file)?;
        Ok(password)
    }

    fn give(&self, file: &Path) -> Result<()> {
        let owner = fs::metadata(&self.home)?;
        Ok(chown(file, Some(owner.uid()), Some(owner.gid()))?)
    }

    /// A program of Postgres, as the owner of the directory: it refuses to run as root.
    fn command(&self, program: &str) -> Result<Command> {
        let owner = fs::metadata(&self.home)?;
        let mut command = Command::new(self.bin.join(program));
        command
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if owner.uid() != nix::unistd::getuid().as_raw() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }

    fn init(&self) -> Result<()> {
        let mut initdb = self.command("initdb")?;
        initdb
            .args([
                "--username",
                USER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .arg("--pwfile")
            .arg(self.home.join("password"))
            .arg("--pgdata")
            .arg(self.home.join("data"));
        succeed(initdb)
    }

    fn boot(&self, port: u16) -> Result<()> {
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "max_connections=200".to_owned(),
            "shared_buffers=512MB".to_owned(),
            "max_wal_size=4GB".to_owned(),
        ];
        let options: Vec<String> = settings.iter().map(|setting| format!("-c {setting}")).collect();
        let mut start = self.command("pg_ctl")?;
        start
            .args(["start", "--wait", "--silent", "--timeout=60", "--options"])
            .arg(options.join(" "))
            .arg("--log")
            .arg(self.home.join("log"))
            .arg("--pgdata")
            .arg(self.home.join("data"));
        succeed(start)
    }

    fn stop(&self) {
        if !self.home.join("data/postmaster.pid").exists() {
            return;
        }
        if let Ok(mut stop) = self.command("pg_ctl") {
            stop.args(["stop", "--mode=fast", "--silent", "--timeout=60", "--pgdata"])
                .arg(self.home.join("data"))
                .stderr(Stdio::null());
            let _ = stop.status();
        }
    }
}

fn succeed(mut command: Command) -> Result<()> {
    // A server inherits what its starter has open, so nobody may wait for the end of these.
    let status = command.stderr(Stdio::inherit()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?} failed: {status}").into()),
    }
}

/// A directory that the server's user owns and can reach.
fn home(dir: &Path) -> Result<PathBuf> {
    let root = nix::unistd::getuid().is_root();
    let reachable = |dir: &Path| {
        let open = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
        dir.ancestors().all(open)
    };
    let home = match root && !reachable(dir) {
        true => std::env::temp_dir().join("undercroft-bench-postgres"),
        false => dir.join("postgres"),
    };
    fs::create_dir_all(&home)?;
    if root && fs::metadata(&home)?.uid() == 0 {
        let user = ["postgres", "nobody"]
            .iter()
            .find_map(|name| nix::unistd::User::from_name(name).ok()?);
        let user = user.ok_or("Postgres does not run as root, and there is no user `postgres` or `nobody`")?;
        chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    Ok(home)
}

/// Where initdb, postgres and pg_ctl are, all three.
fn programs() -> Result<PathBuf> {
    let named = std::env::var_os("STORE_TEST_POSTGRES_BIN").map(PathBuf::from);
    let config = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
    let config = config
        .ok()
        .map(|answer| PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = named
        .into_iter()
        .chain(config)
        .chain(std::env::split_paths(&path))
        .collect();
    for dir in ["/usr/lib/postgresql".into(), crate::arena::target().join("postgres")] {
        let versions = fs::read_dir::<PathBuf>(dir).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        versions.sort();
        places.extend(versions.into_iter().rev());
    }
    let complete = |bin: &PathBuf| ["initdb", "postgres", "pg_ctl"].iter().all(|it| bin.join(it).is_file());
    places.into_iter().find(complete).ok_or_else(|| {
        "no Postgres found: install one, or name its programs' directory in STORE_TEST_POSTGRES_BIN, or a server in \
         STORE_TEST_POSTGRES_URL"
            .into()
    })
}
