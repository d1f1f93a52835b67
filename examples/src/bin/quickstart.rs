//! Reads a folder of soul files into the store and says what is there now and what is new.
//!
//! `cargo run -p examples --bin quickstart [FOLDER]`: on SQLite without any set-up, and wherever STORE_URL, store.toml
//! and the other settings of Undercroft say otherwise. What it prints is the same on either database.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use examples::key_file::{self, KeySource};
use examples::program::{every, finish};
use examples::souls::{self, SoulFile};
use examples::table::{Align, count, lines};
use store::chrono::{DateTime, TimeDelta, Utc};
use store::prelude::*;
use store::{Clock as _, SystemClock};

const USAGE: &str = "\
Usage: quickstart [FOLDER]

Reads the soul files (*.md) of FOLDER, by default those that come with the examples, and stores what is new in them.
The database is the one that Undercroft's configuration names; with no configuration at all, a SQLite file in your data
directory.";

/// Whom the API key stands for.
const EMAIL: &str = "quickstart@localhost";
/// The key of the secret, and the name of the API key.
const NAME: &str = "quickstart/api-key";

const KEY_LIFE: TimeDelta = TimeDelta::days(90);
/// A key that ends sooner is replaced by a new one.
const KEY_RENEWAL: TimeDelta = TimeDelta::days(7);

#[tokio::main]
#[allow(clippy::print_stderr, reason = "a program tells its user what went wrong")]
async fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let outcome = match arguments.as_slice() {
        [] => run(&shipped_souls()).await,
        [flag] if matches!(flag.to_str(), Some("-h" | "--help")) => Ok(format!("{USAGE}\n")),
        [folder] if !folder.to_string_lossy().starts_with('-') => run(folder).await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    finish(outcome)
}

/// The folder beside this program's source, as it looks from here.
fn shipped_souls() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("souls");
    let current = std::env::current_dir().unwrap_or_default();
    folder.strip_prefix(current).map(Path::to_owned).unwrap_or(folder)
}

async fn run(folder: &Path) -> Result<String, Box<dyn Error>> {
    let files = souls::read_folder(folder)?;
    let (config, key_source) = key_file::configured()?;
    let store = Store::open(config).await?;

    // One transaction for the whole folder: another program sees all of it or nothing.
    let files_now = &files;
    let changes = store
        .transaction(|tx| async move { keep_souls(&tx, files_now).await })
        .await?;
    let key = api_key(&store).await.map_err(|error| lost_key(error, &key_source))?;

    let mut report = String::new();
    write_places(&mut report, folder, &store, &key_source)?;
    write_changes(&mut report, &files, &changes, &key)?;
    write_stored(&mut report, &files, &store).await?;
    write_key(&mut report, &key)?;
    store.close().await?;
    Ok(report)
}

/// A secret that does not open is most often one whose key was left behind on another machine.
fn lost_key(error: Box<dyn Error>, source: &KeySource) -> Box<dyn Error> {
    let unknown = error
        .downcast_ref::<store::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::Vault);
    match source {
        KeySource::Found(path) | KeySource::Made(path) if unknown => format!(
            "{error}\n  The ring is {}: put the key file back that was there when it was sealed.",
            path.display()
        )
        .into(),
        _ => error,
    }
}

/// What became of one soul file.
struct Change {
    bot: Bookkeeping,
    /// The version that is current now.
    version: i64,
    /// Whether that version is from this run.
    saved: bool,
}

enum Bookkeeping {
    Created,
    /// These fields were changed.
    Updated(Vec<&'static str>),
    Same,
}

async fn keep_souls(tx: &Tx, files: &[SoulFile]) -> store::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for file in files {
        let (id, bot) = keep_bot(tx, &file.bot).await?;
        let stored = tx.souls().get_stored_hash(id).await?;
        let saved = stored.as_deref() != Some(&SoulVersion::hash_of(&file.soul));
        let version = if saved {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let soul = NewSoul::new(&file.soul).because(format!("read from {name}"));
            tx.souls().save_version(id, soul).await?.version
        } else {
            tx.bots().get(id).await?.map_or(0, |bot| bot.version_count)
        };
        changes.push(Change { bot, version, saved });
    }
    Ok(changes)
}

/// Finds the bot by its slug or creates it, and brings it to what its file says.
async fn keep_bot(tx: &Tx, wanted: &NewBot) -> store::Result<(BotId, Bookkeeping)> {
    let Some(found) = tx.bots().get_by_slug(&wanted.slug).await? else {
        let created = tx.bots().create(wanted.clone()).await?;
        return Ok((created.id, Bookkeeping::Created));
    };
    let change = BotChange {
        name: differs(&found.name, &wanted.name),
        description: differs(&found.description, &wanted.description),
        category: differs(&found.category, &wanted.category),
        tags: differs(&found.tags, &wanted.tags),
        ..BotChange::default()
    };
    let fields = [
        ("name", change.name.is_some()),
        ("description", change.description.is_some()),
        ("category", change.category.is_some()),
        ("tags", change.tags.is_some()),
    ];
    let changed: Vec<_> = fields
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| name)
        .collect();
    if changed.is_empty() {
        return Ok((found.id, Bookkeeping::Same));
    }
    tx.bots().update(found.id, change).await?;
    Ok((found.id, Bookkeeping::Updated(changed)))
}

fn differs<T: PartialEq + Clone>(stored: &T, wanted: &T) -> Option<T> {
    (stored != wanted).then(|| wanted.clone())
}

/// The API key as this run found or made it.
struct KeyStory {
    who: Authenticated,
    issued: bool,
    /// When the key was last used before this run.
    last_run: Option<DateTime<Utc>>,
}

/// Opens the API key that an earlier run sealed, or issues one and seals it, and authenticates with what the vault gives
/// back. One key is enough: it is replaced only when it opens nothing any more, or will not for much longer.
async fn api_key(store: &Store) -> Result<KeyStory, Box<dyn Error>> {
    let vault = store.vault()?;
    let secret = Key::new(NAME)?;
    let old = match vault.get(Scope::Global, &secret).await? {
        Some(sealed) => store.api_keys().authenticate(&sealed).await?,
        None => None,
    };
    let last_run = old.as_ref().and_then(|old| old.key.last_used_at);
    let until = SystemClock.now() + KEY_RENEWAL;
    let good = old
        .as_ref()
        .is_some_and(|old| old.key.expires_at.is_none_or(|end| end > until));
    if !good {
        issue(store, &secret, old.map(|old| old.key.id)).await?;
    }
    let sealed = vault
        .get(Scope::Global, &secret)
        .await?
        .ok_or("the secret just sealed is gone")?;
    let who = store.api_keys().authenticate(&sealed).await?;
    let who = who.ok_or("the API key that the vault holds opens nothing; somebody revoked it just now")?;
    store.api_keys().touch(who.key.id).await?;
    Ok(KeyStory {
        who,
        issued: !good,
        last_run,
    })
}

/// Issues a key, seals it and revokes the old one: all of it or nothing.
async fn issue(store: &Store, secret: &Key, old: Option<ApiKeyId>) -> Result<(), Box<dyn Error>> {
    let keys = store.config().vault.as_ref().ok_or("the vault has no keys")?;
    let ring = &KeyRing::try_from(keys)?;
    let email = &Email::new(EMAIL)?;
    let work = |tx: Tx| async move {
        let user = match tx.users().get_by_email(email).await? {
            Some(user) => user,
            None => {
                let user = NewUser {
                    email: email.clone(),
                    role: UserRole::User,
                };
                tx.users().create(user).await?
            }
        };
        let key = NewApiKey {
            user_id: Some(user.id),
            name: NAME.to_owned(),
            expires_at: Some(SystemClock.now() + KEY_LIFE),
        };
        // The only time that the key itself can be had.
        let issued = tx.api_keys().issue(key).await?;
        SecretVault::new(tx.secrets(), ring.clone())
            .set(Scope::Global, secret, &issued.plaintext)
            .await?;
        if let Some(old) = old {
            tx.api_keys().revoke(old).await?;
        }
        Ok(())
    };
    Ok(store.transaction(work).await?)
}

fn write_places(report: &mut String, folder: &Path, store: &Store, key: &KeySource) -> Result<(), Box<dyn Error>> {
    let key = match key {
        KeySource::Configuration => "as configured".to_owned(),
        KeySource::Thrown => "made for this run only, like the database".to_owned(),
        KeySource::Found(path) => path.display().to_string(),
        KeySource::Made(path) => format!("{} (made now; keep it: it opens the secrets)", path.display()),
    };
    let rows = [
        ["souls", &folder.display().to_string()],
        ["database", &store.config().describe()],
        ["vault key", &key],
    ];
    let rows = rows.map(|row| row.map(str::to_owned));
    write!(report, "{}", lines([Align::Left, Align::Left], &rows))?;
    Ok(())
}

fn write_changes(
    report: &mut String,
    files: &[SoulFile],
    changes: &[Change],
    key: &KeyStory,
) -> Result<(), Box<dyn Error>> {
    match key.last_run {
        Some(instant) => writeln!(report, "\nSince the last run, {}:", minute(instant))?,
        None => writeln!(report, "\nOn this first run:")?,
    }
    let rows: Vec<_> = files
        .iter()
        .zip(changes)
        .map(|(file, change)| {
            let version = change.version;
            let (word, what) = match (&change.bot, change.saved) {
                (Bookkeeping::Created, _) => ("new", "created with its first soul".to_owned()),
                (Bookkeeping::Updated(fields), true) => {
                    ("changed", format!("{}, soul version {version}", fields.join(", ")))
                }
                (Bookkeeping::Updated(fields), false) => (
                    "changed",
                    format!("{}; soul version {version} as before", fields.join(", ")),
                ),
                (Bookkeeping::Same, true) => ("changed", format!("soul version {version}")),
                (Bookkeeping::Same, false) => ("same", format!("soul version {version} as before")),
            };
            [word.to_owned(), file.bot.slug.to_string(), what]
        })
        .collect();
    write!(report, "{}", lines([Align::Left; 3], &rows))?;
    Ok(())
}

async fn write_stored(report: &mut String, files: &[SoulFile], store: &Store) -> Result<(), Box<dyn Error>> {
    let filter = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    let bots = every(async |page| store.bots().list(filter, page).await).await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) = bots
        .iter()
        .partition(|bot| files.iter().any(|file| file.bot.slug == bot.slug));
    let mut rows = vec![["BOT", "CATEGORY", "VERSIONS", "WORDS", "SOUL", "TAGS"].map(str::to_owned)];
    for bot in here {
        let soul = store
            .souls()
            .get_current(bot.id)
            .await?
            .ok_or_else(|| format!("{} has no soul", bot.slug))?;
        rows.push([
            bot.name.clone(),
            bot.category.to_string(),
            bot.version_count.to_string(),
            soul.content.split_whitespace().count().to_string(),
            soul.hash.chars().take(8).collect(),
            bot.tags.join(", "),
        ]);
    }
    let align = [
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Left,
        Align::Left,
    ];
    write!(report, "\nStored now:\n{}", lines(align, &rows))?;
    if !elsewhere.is_empty() {
        let slugs: Vec<_> = elsewhere.iter().map(|bot| bot.slug.as_str()).collect();
        writeln!(report, "  and without a file in this folder: {}", shortened(&slugs))?;
    }
    let secrets = every(async |page| store.secrets().list(None, page).await).await?.len();
    let keys = every(async |page| store.api_keys().list(None, page).await).await?;
    let live = keys.iter().filter(|key| key.revoked_at.is_none()).count();
    let counts = [
        count(bots.len(), "bot"),
        count(secrets, "sealed secret"),
        count(live, "API key"),
    ];
    writeln!(report, "  {}", counts.join(", "))?;
    Ok(())
}

fn write_key(report: &mut String, key: &KeyStory) -> Result<(), Box<dyn Error>> {
    let Authenticated { key: api_key, user } = &key.who;
    let end = api_key
        .expires_at
        .map_or("for good".to_owned(), |end| format!("until {}", end.format("%Y-%m-%d")));
    let user = user.as_ref().map_or("nobody".to_owned(), |user| user.email.to_string());
    let came = match key.issued {
        true => "issued now: shown once, to this program, which sealed it",
        false => "issued and sealed by an earlier run",
    };
    writeln!(report, "\nThe API key uc_{}_…, {end}:\n  {came}", api_key.prefix)?;
    writeln!(
        report,
        "  opened from the secret {NAME}, and it authenticated as {user}"
    )?;
    Ok(())
}

/// The first few, and how many more.
fn shortened(slugs: &[&str]) -> String {
    match slugs.split_at_checked(6) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => slugs.join(", "),
    }
}

fn minute(instant: DateTime<Utc>) -> impl std::fmt::Display {
    instant.format("%Y-%m-%d %H:%M UTC")
}
