//! The plans of the identity domain.

use store::ErrorKind;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use crate::fill::{Columns, ROWS, id, rows};
use crate::support::{email, key, slug};

store::testkit::tests![users_and_bots, souls, secrets, api_keys];

const USERS: Columns = &[
    ("id", "id(i)"),
    ("email", "'user-' || i || '@example.org'"),
    ("email_lc", "'user-' || i || '@example.org'"),
    ("role", "pick(x, 'user', 'user', 'user', 'admin')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const BOTS: Columns = &[
    ("id", "id(i)"),
    ("slug", "'bot-' || i"),
    ("name", "'Bot ' || x % 10000"),
    ("status", "pick(x / 7, 'active', 'disabled', 'archived')"),
    (
        "category",
        "pick(x / 3, 'assistant', 'creative', 'research', 'utility')",
    ),
    ("user_id", "id(1 + x % 50)"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x * 31 % 100000)"),
];

/// As parents of other rows.
pub(super) const BOTS_OF_NOBODY: Columns = &[
    ("id", "id(i)"),
    ("slug", "'bot-' || i"),
    ("name", "'Bot ' || i"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const SOULS: Columns = &[
    ("id", "id(i)"),
    ("bot_id", "id(1 + x % 50)"),
    ("content", "'You are number ' || i"),
    ("hash", "'hash ' || i"),
    ("version", "1 + x / 50"),
    ("created_at", "instant(x)"),
];

const SECRETS: Columns = &[
    ("id", "id(i)"),
    ("key", "'key-' || x"),
    ("encrypted_value", "bytes('sealed')"),
    ("bot_id", "pick(x, id(1 + x % 50), id(1 + x % 50), NULL)"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

pub(super) const API_KEYS_OF_NOBODY: Columns = &[
    ("id", "id(i)"),
    ("prefix", "'prefix-' || i"),
    ("hash", "bytes('hash ' || i)"),
    ("created_at", "instant(x)"),
];

const API_KEYS: Columns = &[
    ("id", "id(i)"),
    ("user_id", "pick(x, id(1 + x % 50), NULL)"),
    ("prefix", "'prefix-' || i"),
    ("hash", "bytes('hash ' || i)"),
    ("created_at", "instant(x)"),
    ("expires_at", "pick(x, instant(x), NULL)"),
];

async fn users_and_bots(db: TestDatabase) {
    rows(&db, ROWS, "users", USERS).await;
    rows(&db, ROWS, "bots", BOTS).await;
    let mut look = Look::at(&db).await;
    users(&mut look).await;
    bots(&mut look).await;
    look.finish();
}

async fn users(look: &mut Look) {
    let users = look.store.users();
    look.lookup("users.get", users.get(id(7))).await;
    let address = &email("USER-7@example.org");
    look.lookup("users.get_by_email", users.get_by_email(address)).await;
    look.pages("users.list", |page| users.list(None, page)).await;
    for role in [UserRole::Admin, UserRole::User] {
        look.pages("users.list by role", |page| users.list(Some(role), page))
            .await;
    }
    let first = users.create_initial_admin_if_none(email("admin@example.org"));
    look.refused(
        "users.create_initial_admin_if_none",
        ErrorKind::AlreadyBootstrapped,
        first,
    )
    .await;
    look.lookup("users.update", users.update(id(7), UserChange::default()))
        .await;
    look.lookup("users.delete", users.delete(id(7))).await;
}

async fn bots(look: &mut Look) {
    let bots = look.store.bots();
    look.lookup("bots.get", bots.get(id(7))).await;
    look.lookup("bots.get_by_slug", bots.get_by_slug(&slug("bot-7"))).await;
    for (filters, filter) in bot_filters() {
        for order in [BotOrder::CreatedAt, BotOrder::UpdatedAt, BotOrder::Name] {
            for direction in [Direction::Ascending, Direction::Descending] {
                let filter = BotFilter {
                    order,
                    direction,
                    ..filter
                };
                let other = match (filters, order) {
                    ("", _) | (_, BotOrder::CreatedAt) => "",
                    _ => " in another order",
                };
                let call = format!("bots.list{other}{filters}, {order:?} {direction:?}");
                look.pages(&call, |page| bots.list(filter, page)).await;
            }
        }
    }
    look.lookup("bots.update", bots.update(id(7), BotChange::default()))
        .await;
}

fn bot_filters() -> Vec<(&'static str, BotFilter)> {
    let all = BotFilter::default();
    let status = Some(BotStatus::Active);
    let category = Some(BotCategory::Creative);
    let user_id = Some(id(8));
    vec![
        ("", all),
        (" by status", BotFilter { status, ..all }),
        (" by category", BotFilter { category, ..all }),
        (" by user", BotFilter { user_id, ..all }),
        (
            " by two of status, category and user",
            BotFilter {
                status,
                category,
                ..all
            },
        ),
        (
            " by two of status, category and user",
            BotFilter { status, user_id, ..all },
        ),
    ]
}

async fn souls(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "soul_versions", SOULS).await;
    let mut look = Look::at(&db).await;
    let souls = look.store.souls();
    let bot = id(7);
    look.first("souls.get_current", souls.get_current(bot)).await;
    look.lookup("souls.get_version", souls.get_version(bot, 3)).await;
    look.first("souls.get_stored_hash", souls.get_stored_hash(bot)).await;
    look.pages("souls.list_versions", |page| souls.list_versions(bot, page))
        .await;
    look.finish();
}

async fn secrets(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "secrets", SECRETS).await;
    let mut look = Look::at(&db).await;
    let secrets = look.store.secrets();
    for scope in [Scope::Global, Scope::Bot(id(8))] {
        let (one, old) = (&key("key-7"), &SealedValue::from_sealed(vec![]));
        look.lookup("secrets.get", secrets.get(scope, one)).await;
        look.lookup("secrets.reseal", secrets.reseal(scope, one, old, old.clone()))
            .await;
        let set = secrets.set(scope, one, old.clone(), SecretProvider::Vault);
        look.lookup("secrets.set", set).await;
        look.lookup("secrets.delete", secrets.delete(scope, one)).await;
        look.pages("secrets.list of a scope", |page| secrets.list(Some(scope), page))
            .await;
    }
    look.pages("secrets.list of all", |page| secrets.list(None, page)).await;
    look.finish();
}

async fn api_keys(db: TestDatabase) {
    rows(&db, 1_000, "users", USERS).await;
    rows(&db, ROWS, "api_keys", API_KEYS).await;
    let mut look = Look::at(&db).await;
    let keys = look.store.api_keys();
    let key = NewApiKey {
        user_id: Some(id(7)),
        ..NewApiKey::default()
    };
    let issued = keys.issue(key).await.unwrap();
    look.lookup("api_keys.authenticate", keys.authenticate(&issued.plaintext))
        .await;
    look.lookup("api_keys.get", keys.get(id(7))).await;
    look.pages("api_keys.list of all", |page| keys.list(None, page)).await;
    look.pages("api_keys.list of a user", |page| keys.list(Some(id(9)), page))
        .await;
    look.lookup("api_keys.touch", keys.touch(id(7))).await;
    look.lookup("api_keys.revoke", keys.revoke(id(7))).await;
    let expired = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup("api_keys.prune, counting", keys.prune(expired.dry_run()))
        .await;
    look.lookup("api_keys.prune", keys.prune(expired)).await;
    look.lookup("api_keys.delete", keys.delete(id(8))).await;
    look.finish();
}
