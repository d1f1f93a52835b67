//! What is synced to the disk where most commits are not (`synchronous = "off"`).
//!
//! Syncs are seen where they leave the program: this one has an `fsync` and an `fdatasync` of its own, which SQLite calls
//! in place of the system's, and which hand every call on.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use store::config::Synchronous;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, key};

store::testkit::tests! {
    on_sqlite: [
        a_log_is_not_used_again_before_it_and_the_file_are_synced,
        a_file_that_is_closed_is_synced_before_its_log_goes,
    ],
}

#[cfg(target_os = "linux")]
mod heard {
    use std::ffi::{c_int, c_long};
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How many tests listen, and what they hear: one after the other, whichever file it was.
    static LISTENING: AtomicUsize = AtomicUsize::new(0);
    static HEARD: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

    fn note(file: c_int) {
        if LISTENING.load(Ordering::SeqCst) > 0
            && let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{file}"))
        {
            HEARD.lock().unwrap().push(path);
        }
    }

    #[expect(
        unsafe_code,
        reason = "nothing else calls the system past the function that stands in for it"
    )]
    fn hand_on(call: c_long, file: c_int) -> c_int {
        // SAFETY: both calls take a number, and answer an error for one that is no open file.
        let answer = unsafe { libc::syscall(call, file) };
        c_int::try_from(answer).unwrap_or(-1)
    }

    #[expect(unsafe_code, reason = "it has the name of the system's, so that SQLite calls it")]
    #[unsafe(no_mangle)]
    extern "C" fn fsync(file: c_int) -> c_int {
        note(file);
        hand_on(libc::SYS_fsync, file)
    }

    #[expect(unsafe_code, reason = "it has the name of the system's, so that SQLite calls it")]
    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(file: c_int) -> c_int {
        note(file);
        hand_on(libc::SYS_fdatasync, file)
    }

    /// Hears of every sync while it lives.
    pub(super) struct Syncs;

    impl Syncs {
        pub(super) fn new() -> Self {
            LISTENING.fetch_add(1, Ordering::SeqCst);
            Self
        }

        /// Which of these was synced since the last call, in their order.
        pub(super) fn take(&self, of: &[&Path]) -> Vec<PathBuf> {
            let mut heard = HEARD.lock().unwrap();
            heard.extract_if(.., |path| of.contains(&path.as_path())).collect()
        }
    }

    impl Drop for Syncs {
        fn drop(&mut self) {
            LISTENING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Where a program cannot be seen from inside, there is nothing to hear.
#[cfg(not(target_os = "linux"))]
mod heard {
    use std::path::{Path, PathBuf};

    pub(super) struct Syncs;

    impl Syncs {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) fn take(&self, of: &[&Path]) -> Vec<PathBuf> {
            of.iter().rev().map(|path| path.to_path_buf()).collect()
        }
    }
}

use heard::Syncs;

struct Unsynced {
    store: Store,
    bot: BotId,
    run: WorkflowRunId,
    file: PathBuf,
    log: PathBuf,
}

/// A store whose commits are not synced, with a run of a workflow.
async fn unsynced(db: &TestDatabase) -> Unsynced {
    let mut config = db.config();
    config.sqlite.synchronous = Synchronous::Off;
    let store = Store::open(config).await.unwrap();
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let draft = WorkflowDraft::new(WorkflowName::new("w").unwrap(), json!({}));
    let workflow = store.workflows().save_definition(draft).await.unwrap().id;
    let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap().id;
    let file = db.path().unwrap().canonicalize().unwrap();
    let log = PathBuf::from(format!("{}-wal", file.display()));
    Unsynced {
        store,
        bot,
        run,
        file,
        log,
    }
}

async fn checkpoint(store: &Store, run: WorkflowRunId) {
    let workflows = store.workflows();
    let step = workflows.create_step_log(run, NewStep::new(key("step")), None);
    step.await.unwrap();
}

/// How often the log was begun anew: a number in its header (<https://www.sqlite.org/walformat.html>).
fn times_begun(log: &Path) -> u32 {
    let mut header = [0; 32];
    std::fs::File::open(log).unwrap().read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..16].try_into().unwrap())
}

/// A workflow's checkpoint is promised to survive a power cut. It is in the log then. A commit that is not synced may be
/// the one that moves the log into the file; the log must not be written over before both are on the disk.
async fn a_log_is_not_used_again_before_it_and_the_file_are_synced(db: TestDatabase) {
    let Unsynced {
        store,
        bot,
        run,
        file,
        log,
    } = unsynced(&db).await;
    let syncs = Syncs::new();
    let both = [file.as_path(), log.as_path()];
    store.kv().set(bot, &key("small"), json!(1), None).await.unwrap();
    if cfg!(target_os = "linux") {
        assert!(syncs.take(&both).is_empty(), "it is off");
    }
    checkpoint(&store, run).await;
    assert!(syncs.take(&both).contains(&log), "a checkpoint of a workflow is synced");
    let begun = times_begun(&log);
    for n in 0.. {
        assert!(n < 200, "the log is never begun anew");
        // Another text each time: pages that stay as they are would not be written.
        let large = json!(n.to_string().repeat(500_000));
        store.kv().set(bot, &key("large"), large, None).await.unwrap();
        if times_begun(&log) != begun {
            break;
        }
    }
    let synced = syncs.take(&both);
    let of = |one: &Path| synced.iter().position(|path| path == one);
    assert!(of(&file).is_some(), "the file was never synced: {synced:?}");
    assert!(
        of(&log).is_some() && of(&log) < synced.iter().rposition(|path| *path == file),
        "{synced:?}"
    );
}

async fn a_file_that_is_closed_is_synced_before_its_log_goes(db: TestDatabase) {
    let Unsynced {
        store,
        bot,
        run,
        file,
        log,
    } = unsynced(&db).await;
    let syncs = Syncs::new();
    let both = [file.as_path(), log.as_path()];
    checkpoint(&store, run).await;
    store.kv().set(bot, &key("small"), json!(1), None).await.unwrap();
    syncs.take(&both);
    store.close().await.unwrap();
    let synced = syncs.take(&both);
    assert!(synced.contains(&file), "the file was never synced: {synced:?}");
}
