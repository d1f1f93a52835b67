//! A throwaway server of an installed Postgres: made, started, stopped, removed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use url::Url;

use super::server::Server;
use super::tail;
use crate::testkit::workdir;

const ROOM: u64 = 1 << 30;
const START_LIMIT: Duration = Duration::from_secs(30);
const USER: &str = "undercroft";

/// Who runs the programs: Postgres refuses to run as root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// A server that this process has started.
#[derive(Debug)]
pub(crate) struct Cluster {
    home: PathBuf,
    bin: PathBuf,
    child: Child,
    pub(crate) url: Url,
}

/// Makes and starts a server below `home`, which nobody else uses.
pub(crate) async fn start(bin: &Path, home: &Path, log: &Path) -> Result<Cluster, String> {
    workdir::create(home)?;
    let owner = hand_over(home)?;
    let bin = reachable(bin, home, owner)?;
    let password = random_password()?;
    init(&bin, home, owner, &password)?;
    let mut attempts = 0;
    let (child, url) = loop {
        attempts += 1;
        match boot(&bin, home, owner, log, &password).await {
            Ok(started) => break started,
            // Somebody else may have taken the port since it was found free.
            Err(error) if error.ended && attempts < 3 => {}
            Err(error) => {
                let log = tail(&log.to_owned());
                return Err(format!(
                    "{}/postgres did not start: {}{log}",
                    bin.display(),
                    error.words
                ));
            }
        }
    };
    let home = home.to_owned();
    Ok(Cluster { home, bin, child, url })
}

/// Why a server did not come to answer, and whether it has ended.
struct NotStarted {
    ended: bool,
    words: String,
}

impl From<String> for NotStarted {
    fn from(words: String) -> Self {
        Self { ended: false, words }
    }
}

impl Cluster {
    /// Stops the server, however it is, and removes its data.
    pub(crate) fn end(mut self) {
        stop(&self.bin, &self.home);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }

    /// Whether the server has ended by itself.
    pub(crate) fn is_gone(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

/// Ends a server whose keeper was killed, and removes its data.
pub(crate) fn clear_away(bin: &Path, home: &Path) {
    stop(bin, home);
    let _ = fs::remove_dir_all(home);
}

/// Where the data goes: memory when there is room, as none of it outlives the run.
pub(crate) fn new_home() -> Result<PathBuf, String> {
    let shared_memory = Path::new("/dev/shm");
    let base = if has_room(shared_memory) {
        shared_memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    Ok(base.join(format!(
        "undercroft-postgres-{}",
        random_password()?.get(..12).unwrap_or_default()
    )))
}

fn has_room(dir: &Path) -> bool {
    let Ok(answer) = Command::new("df").arg("-Pk").arg(dir).stderr(Stdio::null()).output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let free = text
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3))
        .and_then(|kib| kib.parse::<u64>().ok());
    free.is_some_and(|kib| kib * 1024 >= ROOM)
}

fn random_password() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(hex::encode(bytes))
}

fn init(bin: &Path, home: &Path, owner: Option<Owner>, password: &str) -> Result<(), String> {
    let secret = home.join("password");
    workdir::write_whole(&secret, password.as_bytes())?;
    give(&secret, owner)?;
    // A locale in which text sorts unlike its bytes shows the queries that forgot to say how to sort. Not every build
    // knows one; C is what is left.
    let locales: [&[&str]; 3] = [
        &["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"],
        &["--locale=en_US.UTF-8"],
        &["--locale=C"],
    ];
    let mut words = String::new();
    for locale in locales {
        let data = home.join("data");
        let answer = command(bin, "initdb", home, owner)
            .args([
                "--username",
                USER,
                "--auth=password",
                "--encoding=UTF8",
                "--no-sync",
                "--pwfile",
            ])
            .arg(&secret)
            .arg("--pgdata")
            .arg(&data)
            .args(locale)
            .output()
            .map_err(|error| format!("{}/initdb does not run: {error}", bin.display()))?;
        if answer.status.success() {
            let _ = fs::remove_file(&secret);
            return Ok(());
        }
        words = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        let _ = fs::remove_dir_all(&data);
    }
    Err(format!("{}/initdb failed: {words}", bin.display()))
}

async fn boot(
    bin: &Path,
    home: &Path,
    owner: Option<Owner>,
    log: &Path,
    password: &str,
) -> Result<(Child, Url), NotStarted> {
    let port = free_port()?;
    let sink = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let copy = sink
        .try_clone()
        .map_err(|error| format!("{}: {error}", log.display()))?;
    let mut postgres = command(bin, "postgres", home, owner);
    postgres.arg("-D").arg(home.join("data")).stdout(copy).stderr(sink);
    for setting in settings(port) {
        postgres.arg("-c").arg(setting);
    }
    let mut child = postgres.spawn().map_err(|error| error.to_string())?;
    let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
    let url = Url::parse(&url).map_err(|error| error.to_string())?;
    match answered(&mut child, &url).await {
        Ok(()) => Ok((child, url)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn settings(port: u16) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "fsync=off",
        "full_page_writes=off",
        // In the data directory, so that no kind of end leaves any behind.
        "dynamic_shared_memory_type=mmap",
        "max_wal_size=256MB",
        "shared_buffers=64MB",
        "log_min_messages=warning",
    ]
    .map(str::to_owned)
    .into();
    settings.push(format!("port={port}"));
    settings
}

async fn answered(child: &mut Child, url: &Url) -> Result<(), NotStarted> {
    let begun = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(NotStarted {
                ended: true,
                words: format!("it ended with {status}"),
            });
        }
        match Server::reach(url.clone(), None).await {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > START_LIMIT => {
                return Err(format!("no answer within {} s: {error}", START_LIMIT.as_secs()).into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
        }
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

fn stop(bin: &Path, home: &Path) {
    let data = home.join("data");
    if data.join("postmaster.pid").exists() {
        let owner = owner_of(home);
        let _ = command(bin, "pg_ctl", home, owner)
            .args(["stop", "--mode=immediate", "--silent", "--timeout=10", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A program of Postgres, run by the owner, in a directory that he may enter, and deaf to the variables of libpq.
fn command(bin: &Path, program: &str, home: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(bin.join(program));
    command.current_dir(home).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    #[cfg(unix)]
    if let Some(owner) = owner {
        use std::os::unix::process::CommandExt;
        command.uid(owner.uid).gid(owner.gid);
    }
    #[cfg(not(unix))]
    let _ = owner;
    command
}

/// Gives the directory to an unprivileged user when it was made by root; `None` when there is no need.
fn hand_over(home: &Path) -> Result<Option<Owner>, String> {
    if owner_of(home).is_none_or(|owner| owner.uid != 0) {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| users.lines().find_map(|line| parse_user(line, name));
    let Some(owner) = find("postgres").or_else(|| find("nobody")) else {
        return Err("Postgres does not run as root, and there is no user `postgres` or `nobody` to run it".to_owned());
    };
    give(home, Some(owner))?;
    Ok(Some(owner))
}

fn parse_user(line: &str, name: &str) -> Option<Owner> {
    let mut fields = line.split(':');
    if fields.next() != Some(name) {
        return None;
    }
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Owner { uid, gid })
}

#[cfg(unix)]
fn owner_of(path: &Path) -> Option<Owner> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|meta| Owner {
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

#[cfg(not(unix))]
fn owner_of(_path: &Path) -> Option<Owner> {
    None
}

fn give(path: &Path, owner: Option<Owner>) -> Result<(), String> {
    #[cfg(unix)]
    if let Some(owner) = owner {
        return std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
            .map_err(|error| format!("{} could not be given to another user: {error}", path.display()));
    }
    let _ = (path, owner);
    Ok(())
}

/// The programs where their owner can reach them: a copy when they are below a private directory of root's.
fn reachable(bin: &Path, home: &Path, owner: Option<Owner>) -> Result<PathBuf, String> {
    if owner.is_none() || bin.ancestors().all(anyone_may_enter) {
        return Ok(bin.to_owned());
    }
    let prefix = bin.parent().unwrap_or(bin);
    let copy = home.join("programs");
    workdir::create(&copy)?;
    give(&copy, owner)?;
    for part in ["bin", "lib", "share"] {
        copy_tree(&prefix.join(part), &copy.join(part), owner)
            .map_err(|error| format!("{} could not be copied: {error}", prefix.join(part).display()))?;
    }
    Ok(copy.join("bin"))
}

#[cfg(unix)]
fn anyone_may_enter(dir: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

#[cfg(not(unix))]
fn anyone_may_enter(_dir: &Path) -> bool {
    true
}

fn copy_tree(from: &Path, to: &Path, owner: Option<Owner>) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    fs::create_dir_all(to).map_err(failed)?;
    give(to, owner)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let source = entry.map_err(failed)?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if fs::metadata(&source).map_err(failed)?.is_dir() {
            copy_tree(&source, &target, owner)?;
        } else {
            fs::copy(&source, &target).map_err(failed)?;
            give(&target, owner)?;
        }
    }
    Ok(())
}
