//! One throwaway server for all test processes, and the process that keeps it.
//!
//! Test processes come and go: `cargo test` starts one per target, cargo-nextest one per test. Whichever comes first
//! starts a keeper, which is this same program under a variable, in a process group of its own. The keeper starts the
//! server, says where it is, and ends it when nobody needs it any more. Who needs it is asked of the operating system:
//! every test process holds a shared lock on one file for as long as it lives, and no way to die leaves a lock behind.
//!
//! The files, in one directory per set of programs:
//!
//! | file | content | lock |
//! |---|---|---|
//! | `holders` | | shared: every test process, for its life; exclusive: the keeper, while it ends the server |
//! | `starting` | | exclusive: the test process that looks for a server or starts one |
//! | `keeper` | the keeper's process id | exclusive: the keeper, for its life |
//! | `plan.json` | what to start, and where its data goes | |
//! | `server.json` | where the server is, once it answers | |
//! | `problem` | why it did not start | |
//! | `kept` | databases of failed tests, one per line | |
//! | `server.log` | what the server says | |

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::server::Server;
use super::{cluster, docker, find, tail};
use crate::testkit::workdir;

const KEEPER: &str = "STORE_TESTKIT_KEEPER";
const KEEP: &str = "STORE_TEST_KEEP";
const START_LIMIT: Duration = Duration::from_secs(120);
/// The next test process may be on its way: starting a server takes longer than waiting for it.
const LINGER: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// What a keeper is asked to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Plan {
    Installed { bin: PathBuf, home: PathBuf },
    Container { name: String },
}

impl Plan {
    /// Ends what a killed keeper has left running.
    fn clear_away(&self) {
        match self {
            Self::Installed { bin, home } => cluster::clear_away(bin, home),
            Self::Container { name } => docker::clear_away(name),
        }
    }
}

/// How long failed tests hold a server.
pub(crate) fn keep_for() -> Result<Duration, String> {
    let Some(text) = std::env::var_os(KEEP) else {
        return Ok(Duration::from_secs(600));
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{KEEP}={}: not a number of seconds", text.display()))
}

/// The server of the first kind that works, shared with every other test process.
pub(crate) async fn join() -> Result<Server, String> {
    keep_for()?;
    let mut tried = vec!["STORE_TEST_POSTGRES_URL: not set".to_owned()];
    match find::installed() {
        Ok(bin) => match join_installed(&bin).await {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("{}: {error}", bin.display())),
        },
        Err(lines) => tried.extend(lines),
    }
    if !find::is_named() {
        match join_container().await {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("Docker: {error}")),
        }
    }
    Err(format!(
        "no Postgres to test on. Tried:\n  - {}\nDo one of these:\n  \
         - run the tests with scripts/test, which brings a Postgres\n  \
         - install one (Debian: apt-get install postgresql)\n  \
         - set STORE_TEST_POSTGRES_URL to a server on which the user may create databases\n  \
         - set STORE_TEST_BACKENDS=sqlite to leave Postgres out",
        tried.join("\n  - ")
    ))
}

async fn join_installed(bin: &Path) -> Result<Server, String> {
    let id = hex::encode(&Sha256::digest(bin.as_os_str().as_encoded_bytes())[..4]);
    let dir = workdir::root()?.join(format!("postgres-{id}"));
    let bin = bin.to_owned();
    join_at(dir, START_LIMIT, move || {
        Ok(Plan::Installed {
            bin: bin.clone(),
            home: cluster::new_home()?,
        })
    })
    .await
}

async fn join_container() -> Result<Server, String> {
    let root = workdir::root()?;
    let id = hex::encode(&Sha256::digest(root.as_os_str().as_encoded_bytes())[..4]);
    let name = format!("undercroft-testkit-{id}");
    join_at(root.join("postgres-docker"), docker::START_LIMIT, move || {
        Ok(Plan::Container { name: name.clone() })
    })
    .await
}

/// Joins the server of this directory, started by this process when there is none.
async fn join_at(
    dir: PathBuf,
    limit: Duration,
    plan: impl Fn() -> Result<Plan, String> + Send + 'static,
) -> Result<Server, String> {
    workdir::create(&dir)?;
    let url = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || hold(&dir).and_then(|()| find_or_start(&dir, limit, &plan))
    })
    .await
    .map_err(|error| error.to_string())??;
    let joined = Server::reach(url, Some(dir.join("kept"))).await;
    joined.map_err(|error| format!("the server does not answer: {error}{}", tail(&dir.join("server.log"))))
}

/// Holds the server for as long as this process lives.
fn hold(dir: &Path) -> Result<(), String> {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let holders = workdir::lock_file(&dir.join("holders"))?;
    holders
        .lock_shared()
        .map_err(|error| format!("{}/holders: {error}", dir.display()))?;
    HELD.lock().map_err(|error| error.to_string())?.push(holders);
    Ok(())
}

fn find_or_start(dir: &Path, limit: Duration, plan: &dyn Fn() -> Result<Plan, String>) -> Result<Url, String> {
    let starting = workdir::lock_file(&dir.join("starting"))?;
    starting
        .lock()
        .map_err(|error| format!("{}/starting: {error}", dir.display()))?;
    let begun = Instant::now();
    let mut keeper = None;
    while begun.elapsed() < limit {
        if let Some(url) = read_server(dir)? {
            return Ok(url);
        }
        match keeper.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => {
                return Err(problem(dir, &format!("the server's keeper ended with {status}")));
            }
            Some(_) => {}
            // A keeper that lives without a server has just ended it, and is about to end too.
            None if keeper_lives(dir)? => {}
            None => keeper = Some(start_keeper(dir, plan)?),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(problem(
        dir,
        &format!("the server did not start within {} s", limit.as_secs()),
    ))
}

/// Where the server is, as long as its keeper lives.
fn read_server(dir: &Path) -> Result<Option<Url>, String> {
    let Ok(text) = fs::read_to_string(dir.join("server.json")) else {
        return Ok(None);
    };
    if !keeper_lives(dir)? {
        return Ok(None);
    }
    let url: String = serde_json::from_str(&text).map_err(|error| format!("server.json: {error}"))?;
    Url::parse(&url)
        .map(Some)
        .map_err(|error| format!("server.json: {error}"))
}

fn start_keeper(dir: &Path, plan: &dyn Fn() -> Result<Plan, String>) -> Result<Child, String> {
    clear_away(dir);
    let plan = serde_json::to_vec(&plan()?).map_err(|error| error.to_string())?;
    workdir::write_whole(&dir.join("plan.json"), &plan)?;
    spawn_keeper(dir)
}

/// Why the server did not start: the keeper's own words, or these and the server's.
fn problem(dir: &Path, otherwise: &str) -> String {
    fs::read_to_string(dir.join("problem")).unwrap_or_else(|_| format!("{otherwise}{}", tail(&dir.join("server.log"))))
}

fn keeper_lives(dir: &Path) -> Result<bool, String> {
    match workdir::lock_file(&dir.join("keeper"))?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(format!("{}/keeper: {error}", dir.display())),
    }
}

/// Removes what is left of a keeper that was killed.
fn clear_away(dir: &Path) {
    if let Some(plan) = read_plan(dir) {
        plan.clear_away();
    }
    for file in ["plan.json", "server.json", "problem", "kept"] {
        let _ = fs::remove_file(dir.join(file));
    }
}

fn read_plan(dir: &Path) -> Option<Plan> {
    serde_json::from_slice(&fs::read(dir.join("plan.json")).ok()?).ok()
}

/// Starts the keeper where neither the terminal's Ctrl-C nor a test runner's clean-up reaches it.
fn spawn_keeper(dir: &Path) -> Result<Child, String> {
    let failed = |error: std::io::Error| format!("the server's keeper could not be started: {error}");
    let mut keeper = Command::new(std::env::current_exe().map_err(failed)?);
    keeper
        .env(KEEPER, dir)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut keeper, 0);
    keeper.spawn().map_err(failed)
}

/// Does the keeper's work when this process was started to be one.
pub(crate) fn keeper_main() -> Option<ExitCode> {
    let dir = PathBuf::from(std::env::var_os(KEEPER)?);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return Some(ExitCode::FAILURE),
    };
    Some(match runtime.block_on(keep_server(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = workdir::write_whole(&dir.join("problem"), problem.as_bytes());
            ExitCode::FAILURE
        }
    })
}

async fn keep_server(dir: &Path) -> Result<(), String> {
    let life = workdir::lock_file(&dir.join("keeper"))?;
    if life.try_lock().is_err() {
        return Err("another keeper is at work".to_owned());
    }
    let _ = life.set_len(0).and_then(|()| writeln!(&life, "{}", std::process::id()));
    let plan = read_plan(dir).ok_or("the plan cannot be read")?;
    let mut running = match start(&plan, dir).await {
        Ok(running) => running,
        Err(error) => {
            plan.clear_away();
            return Err(error);
        }
    };
    let url = serde_json::to_vec(running.url().as_str()).map_err(|error| error.to_string())?;
    workdir::write_whole(&dir.join("server.json"), &url)?;
    let nobody = wait_until_nobody_needs_it(dir, &mut running).await;
    for file in ["server.json", "plan.json", "kept"] {
        let _ = fs::remove_file(dir.join(file));
    }
    running.end().await;
    drop(nobody);
    Ok(())
}

enum Running {
    Cluster(cluster::Cluster),
    Container(Box<docker::Container>),
}

async fn start(plan: &Plan, dir: &Path) -> Result<Running, String> {
    Ok(match plan {
        Plan::Installed { bin, home } => Running::Cluster(cluster::start(bin, home, &dir.join("server.log")).await?),
        Plan::Container { name } => Running::Container(Box::new(docker::start(name).await?)),
    })
}

impl Running {
    fn url(&self) -> &Url {
        match self {
            Self::Cluster(cluster) => &cluster.url,
            Self::Container(container) => &container.url,
        }
    }

    async fn is_gone(&mut self) -> bool {
        match self {
            Self::Cluster(cluster) => cluster.is_gone(),
            Self::Container(container) => container.is_gone().await,
        }
    }

    async fn end(self) {
        match self {
            Self::Cluster(cluster) => cluster.end(),
            Self::Container(container) => container.end().await,
        }
    }
}

/// Returns with the lock that keeps new test processes waiting, once none has been there for a while.
async fn wait_until_nobody_needs_it(dir: &Path, running: &mut Running) -> Option<File> {
    let mut idle_since: Option<Instant> = None;
    loop {
        if running.is_gone().await {
            return None;
        }
        let holders = workdir::lock_file(&dir.join("holders")).ok()?;
        match holders.try_lock() {
            Ok(()) => {
                let since = *idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= LINGER && !is_held_by_failed_tests(dir, since) {
                    return Some(holders);
                }
            }
            Err(TryLockError::WouldBlock) => idle_since = None,
            Err(TryLockError::Error(_)) => return None,
        }
        drop(holders);
        tokio::time::sleep(TICK).await;
    }
}

fn is_held_by_failed_tests(dir: &Path, idle_since: Instant) -> bool {
    dir.join("kept").exists() && keep_for().is_ok_and(|time| idle_since.elapsed() < time)
}
