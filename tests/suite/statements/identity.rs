//! What the methods of the identity domain cost.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Meter, read};
use crate::support::{a_bot, email, key, slug};

store::testkit::tests![bots, souls, secrets, users, api_keys];

async fn bots(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let bots = meter.store.bots();
    let owl = meter.call("bots.create", bots.create(a_bot("owl"))).await;
    for number in 1..=20 {
        bots.create(a_bot(&format!("bot-{number}"))).await.unwrap();
    }
    meter.call("bots.get", bots.get(owl.id)).await;
    meter.call("bots.get_by_slug", bots.get_by_slug(&slug("owl"))).await;
    meter
        .list("bots.list", |page| bots.list(BotFilter::default(), page))
        .await;
    let change = BotChange {
        name: Some("Owl".to_owned()),
        ..BotChange::default()
    };
    meter.call("bots.update", bots.update(owl.id, change)).await;
    meter.call("bots.delete", bots.delete(owl.id)).await;
    meter.finish(&["bots"]);
}

async fn souls(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let souls = meter.store.souls();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    for version in 1..=20 {
        let soul = NewSoul::new(format!("soul {version}"));
        meter.call("souls.save_version", souls.save_version(owl, soul)).await;
    }
    meter.call("souls.get_current", souls.get_current(owl)).await;
    meter.call("souls.get_version", souls.get_version(owl, 3)).await;
    meter.call("souls.get_stored_hash", souls.get_stored_hash(owl)).await;
    meter
        .list("souls.list_versions", |page| souls.list_versions(owl, page))
        .await;
    meter.finish(&["souls"]);
}

async fn secrets(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let secrets = meter.store.secrets();
    let sealed = |text: &str| SealedValue::from_sealed(text.into());
    for number in 1..=20 {
        let key = key(&format!("key-{number}"));
        let set = secrets.set(Scope::Global, &key, sealed("old"), SecretProvider::Vault);
        meter.call("secrets.set", set).await;
    }
    let one = &key("key-1");
    meter.call("secrets.get", secrets.get(Scope::Global, one)).await;
    meter
        .call(
            "secrets.reseal",
            secrets.reseal(Scope::Global, one, &sealed("old"), sealed("new")),
        )
        .await;
    for scope in [None, Some(Scope::Global)] {
        meter.list("secrets.list", |page| secrets.list(scope, page)).await;
    }
    meter.call("secrets.delete", secrets.delete(Scope::Global, one)).await;
    meter.finish(&["secrets"]);
}

async fn users(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let users = meter.store.users();
    let first = users.create_initial_admin_if_none(email("admin@example.org"));
    meter.call("users.create_initial_admin_if_none", first).await;
    let mut last = None;
    for number in 1..=20 {
        let user = NewUser {
            email: email(&format!("user-{number}@example.org")),
            role: UserRole::User,
        };
        last = Some(meter.call("users.create", users.create(user)).await.id);
    }
    let last = last.unwrap();
    meter.call("users.get", users.get(last)).await;
    meter
        .call("users.get_by_email", users.get_by_email(&email("admin@example.org")))
        .await;
    for role in [None, Some(UserRole::User)] {
        meter.list("users.list", |page| users.list(role, page)).await;
    }
    meter
        .call("users.update", users.update(last, UserChange::default()))
        .await;
    meter.call("users.delete", users.delete(last)).await;
    meter.finish(&["users"]);
}

async fn api_keys(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let keys = meter.store.api_keys();
    let user = NewUser {
        email: email("owner@example.org"),
        role: UserRole::User,
    };
    let owner = meter.store.users().create(user).await.unwrap().id;
    let new = NewApiKey {
        user_id: Some(owner),
        ..NewApiKey::default()
    };
    for _ in 1..=20 {
        meter.call("api_keys.issue", keys.issue(new.clone())).await;
    }
    let issued = keys.issue(new).await.unwrap();
    meter
        .call("api_keys.authenticate", keys.authenticate(&issued.plaintext))
        .await;
    let nobodys = keys.issue(NewApiKey::default()).await.unwrap();
    meter
        .measure("api_keys.authenticate", read(1), keys.authenticate(&nobodys.plaintext))
        .await;
    let id = issued.key.id;
    meter.call("api_keys.get", keys.get(id)).await;
    for user in [None, Some(owner)] {
        meter.list("api_keys.list", |page| keys.list(user, page)).await;
    }
    meter.call("api_keys.touch", keys.touch(id)).await;
    meter.call("api_keys.revoke", keys.revoke(id)).await;
    let expired = Prune::older_than(issued.key.created_at);
    meter.call("api_keys.prune", keys.prune(expired)).await;
    meter
        .measure("api_keys.prune", read(1), keys.prune(expired.dry_run()))
        .await;
    meter.call("api_keys.delete", keys.delete(id)).await;
    meter.finish(&["api_keys"]);
}
