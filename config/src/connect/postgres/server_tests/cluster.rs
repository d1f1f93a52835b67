//! A throwaway server of an installed Postgres, with certificates of the test's making.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const PASSWORD: &str = "S3ntinel-hunter2";

/// A server that ends with this value.
pub(super) struct Cluster {
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    child: Child,
    pub(super) port: u16,
    pub(super) home: tempfile::TempDir,
}

/// Where the newest installed server's programs are.
fn programs() -> Option<PathBuf> {
    let asked = Command::new("pg_config").arg("--bindir").output();
    let asked = asked
        .ok()
        .map(|answer| PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()));
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .chain(asked)
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

/// Postgres refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() != 0) {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
        Some((ids.next()?, ids.next()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

impl Cluster {
    /// Starts a server; `None`, said aloud, where none is installed.
    pub(super) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            println!("skipped: no Postgres server is installed");
            return None;
        };
        let owner = unprivileged();
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = owner {
            chown(home.path(), Some(uid), Some(gid)).unwrap();
        }
        let secret = home.path().join("password");
        fs::write(&secret, PASSWORD).unwrap();
        let answer = command(&bin, "initdb", home.path(), owner)
            .args([
                "--username=app",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("--pwfile")
            .arg(&secret)
            .arg("--pgdata")
            .arg(home.path().join("data"))
            .output()
            .unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        // A user `certificate` needs one on an encrypted connection; everybody else needs the password.
        let rules = "hostssl all certificate 127.0.0.1/32 cert\nhost all certificate 127.0.0.1/32 reject\n\
                     host all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";
        fs::write(home.path().join("data/pg_hba.conf"), rules).unwrap();
        let (child, port) = boot(&bin, home.path(), owner, &[]);
        Some(Self {
            bin,
            owner,
            child,
            port,
            home,
        })
    }

    /// Starts it again with these settings.
    pub(super) fn restart(&mut self, settings: &[&str]) {
        self.stop();
        (self.child, self.port) = boot(&self.bin, self.home.path(), self.owner, settings);
    }

    fn stop(&mut self) {
        command(&self.bin, "pg_ctl", self.home.path(), self.owner)
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.home.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let _ = self.child.wait();
    }

    /// Writes a file that only the server may read.
    pub(super) fn give(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = self.owner {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
        path
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn command(bin: &Path, program: &str, home: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(bin.join(program));
    command.current_dir(home).stdin(Stdio::null());
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

fn boot(bin: &Path, home: &Path, owner: Option<(u32, u32)>, settings: &[&str]) -> (Child, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = home.join("log");
    let sink = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
    let sockets = format!("unix_socket_directories={}", home.display());
    let ours = [
        "listen_addresses=127.0.0.1",
        &sockets,
        "fsync=off",
        "shared_buffers=16MB",
        "dynamic_shared_memory_type=mmap",
        "max_connections=20",
    ];
    let mut postgres = command(bin, "postgres", home, owner);
    postgres
        .arg("-D")
        .arg(home.join("data"))
        .arg("-p")
        .arg(port.to_string());
    for setting in ours.iter().chain(settings) {
        postgres.arg("-c").arg(setting);
    }
    let mut child = postgres.stdout(sink.try_clone().unwrap()).stderr(sink).spawn().unwrap();
    let begun = Instant::now();
    // It says so in this file when it takes connections.
    let ready = || {
        let pid = fs::read_to_string(home.join("data/postmaster.pid")).unwrap_or_default();
        pid.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    };
    while !ready() {
        let ended = child.try_wait().unwrap();
        assert!(
            ended.is_none() && begun.elapsed() < Duration::from_secs(30),
            "{ended:?} {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, port)
}
