//! Every example runs on both databases, twice, and says the same on either: what the README shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use store::prelude::*;
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [
        the_quickstart_says_what_the_readme_shows,
        a_changed_soul_is_a_new_version,
        one_key_is_enough,
        a_lost_vault_key_is_told,
        a_bad_folder_changes_nothing,
    ],
    without_database: [help_is_given],
}

fn main() -> ExitCode {
    store::testkit::run([tests()])
}

/// The quickstart on one database, with a home of its own.
struct Quickstart {
    db: TestDatabase,
    home: tempfile::TempDir,
}

impl Quickstart {
    fn on(db: TestDatabase) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("no-settings.toml"), "").unwrap();
        Self { db, home }
    }

    fn start(&self, folder: Option<&Path>) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_quickstart"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STORE_") || name == "DATABASE_URL" {
                program.env_remove(name);
            }
        }
        program
            .args(folder)
            .current_dir(repository())
            .env("XDG_DATA_HOME", self.home.path())
            .env("STORE_CONFIG", self.home.path().join("no-settings.toml"))
            .env("STORE_URL", self.db.url())
            .output()
            .unwrap()
    }

    /// What it says when all is well.
    #[track_caller]
    fn says(&self, folder: Option<&Path>) -> String {
        let output = self.start(folder);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when something is wrong.
    #[track_caller]
    fn complains(&self, folder: Option<&Path>) -> String {
        let output = self.start(folder);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// A copy of the souls that come with the examples.
    fn own_souls(&self) -> PathBuf {
        let folder = self.home.path().join("souls");
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(repository().join("examples/souls")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        folder
    }

    /// The file of the vault's key: beside the SQLite file, or in the home.
    fn key_file(&self) -> PathBuf {
        let beside = self.db.path().and_then(|path| path.parent().map(Path::to_owned));
        beside
            .unwrap_or_else(|| self.home.path().join("undercroft"))
            .join("vault.keys")
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text without what differs from run to run and from place to place: paths, databases, times, the key's prefix.
fn normalised(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["database", ..] => "  database   PLACE".to_owned(),
            ["vault", "key", _] => "  vault key  FILE".to_owned(),
            ["vault", "key", _, rest @ ..] => format!("  vault key  FILE {}", rest.join(" ")),
            ["Since", "the", "last", "run,", ..] => "Since the last run, TIME:".to_owned(),
            ["The", "API", "key", ..] => "The API key PREFIX, until DAY:".to_owned(),
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The README's blocks that begin with this command, without the command.
fn shown_in_the_readme(command: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = readme.split("```").skip(1).step_by(2);
    let start = format!("text\n$ {command}\n");
    blocks
        .filter_map(|block| block.strip_prefix(&start))
        .map(|block| block.trim_end().to_owned())
        .collect()
}

async fn the_quickstart_says_what_the_readme_shows(db: TestDatabase) {
    let quickstart = Quickstart::on(db);
    let runs = [quickstart.says(None), quickstart.says(None)].map(|said| normalised(&said));
    let shown = shown_in_the_readme("cargo run -p examples --bin quickstart");
    let shown: Vec<_> = shown.iter().map(|said| normalised(said)).collect();
    assert_eq!(shown.len(), 2, "the README shows a first and a second run");
    // Both databases are compared with the same text, and so with each other.
    for (said, shown) in runs.iter().zip(&shown) {
        assert_eq!(said, shown, "said:\n{said}\n\nin the README:\n{shown}");
    }
}

async fn a_changed_soul_is_a_new_version(db: TestDatabase) {
    let quickstart = Quickstart::on(db);
    let folder = quickstart.own_souls();
    quickstart.says(Some(&folder));
    let edit = |name: &str, from: &str, to: &str| {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    edit("understudy.md", "You may be strange.", "Be strange.");
    edit("night-watch.md", "\"on-call\"", "\"nights\"");
    edit("second-reader.md", "\"Second Reader\"", "\"The Second Reader\"");
    edit("second-reader.md", "Somebody has already", "Someone has already");
    std::fs::remove_file(folder.join("kitchen-table.md")).unwrap();
    let said = quickstart.says(Some(&folder));
    for line in [
        "  changed  night-watch    tags; soul version 1 as before\n",
        "  changed  second-reader  name, soul version 2\n",
        "  changed  understudy     soul version 2\n",
        "  and without a file in this folder: kitchen-table\n",
        "  4 bots, 1 sealed secret, 1 API key\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }

    let store = quickstart.db.store().await;
    let understudy = store
        .bots()
        .get_by_slug(&Slug::new("understudy").unwrap())
        .await
        .unwrap()
        .unwrap();
    let souls = store.souls();
    let versions = souls
        .list_versions(understudy.id, PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(
        versions.iter().map(|version| version.version).collect::<Vec<_>>(),
        [2, 1]
    );
    let first = souls.get_version(understudy.id, 1).await.unwrap().unwrap();
    assert!(first.content.contains("You may be strange.") && first.content.starts_with("# Understudy"));
    assert_eq!(first.message.as_deref(), Some("read from understudy.md"));
}

async fn one_key_is_enough(db: TestDatabase) {
    let quickstart = Quickstart::on(db);
    let mut said = (0..3).map(|_| quickstart.says(None)).collect::<String>();
    let store = quickstart.db.store().await;
    let keys = async || store.api_keys().list(None, PageRequest::default()).await.unwrap().items;
    let [key] = &keys().await[..] else {
        panic!("one key: {:?}", keys().await)
    };
    assert!(key.last_used_at.is_some() && key.expires_at.is_some());

    // A key that opens nothing any more is replaced.
    store.api_keys().revoke(key.id).await.unwrap();
    let after = quickstart.says(None);
    assert!(
        after.contains("issued now") && after.contains("1 sealed secret, 1 API key"),
        "{after}"
    );
    assert_eq!(keys().await.len(), 2);
    said.push_str(&after);

    let configured = DatabaseConfig::loader()
        .no_environment()
        .no_file()
        .set("path", ":memory:");
    let vault = configured
        .set("vault.key_file", quickstart.key_file())
        .load()
        .unwrap()
        .vault
        .unwrap();
    let vault = SecretVault::new(store.secrets(), KeyRing::try_from(&vault).unwrap());
    let sealed = vault
        .get(Scope::Global, &Key::new("quickstart/api-key").unwrap())
        .await
        .unwrap()
        .unwrap();
    // It may hold the mark that separates it from the rest.
    let secret = sealed.expose_secret().splitn(3, '_').nth(2).unwrap();
    assert!(!said.contains(secret), "a secret was printed");
}

async fn a_lost_vault_key_is_told(db: TestDatabase) {
    let quickstart = Quickstart::on(db);
    quickstart.says(None);
    std::fs::remove_file(quickstart.key_file()).unwrap();
    let said = quickstart.complains(None);
    let hint = format!("The ring is {}: put the key file back", quickstart.key_file().display());
    assert!(
        said.contains("sealed with the key `made-") && said.contains(&hint),
        "{said}"
    );
}

async fn a_bad_folder_changes_nothing(db: TestDatabase) {
    let quickstart = Quickstart::on(db);
    let folder = quickstart.own_souls();
    quickstart.says(Some(&folder));
    std::fs::write(
        folder.join("alpha.md"),
        "+++\nslug = \"alpha\"\nname = \"Alpha\"\ncategory = \"tool\"\n+++\n",
    )
    .unwrap();
    std::fs::write(folder.join("understudy.md"), "no front matter").unwrap();
    let said = quickstart.complains(Some(&folder));
    let folder = folder.display();
    let expected = format!(
        "{folder}/alpha.md:4: unknown variant `tool`, expected one of `assistant`, `creative`, `research`, `utility`\n\
         {folder}/understudy.md:1: a soul file begins with a line of +++ and its front matter\n"
    );
    assert_eq!(said, expected);
    let bots = quickstart
        .db
        .store()
        .await
        .bots()
        .list(BotFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(bots.items.len(), 4);
}

async fn help_is_given() {
    let run = |argument: &str| {
        Command::new(env!("CARGO_BIN_EXE_quickstart"))
            .arg(argument)
            .output()
            .unwrap()
    };
    let help = run("--help");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("Usage: quickstart [FOLDER]"));
    assert_eq!(run("--frobnicate").status.code(), Some(2));
}
