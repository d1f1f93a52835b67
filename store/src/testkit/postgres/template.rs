//! Template databases: the suite's schema, prepared once per server and build.

use super::server::{Server, quoted};
use super::{PREFIX, config_for, seconds_since_1970};
use crate::testkit::Template;

const TEMPLATE: &str = "undercroft_template_";
/// The advisory lock under which a template is looked for and made: "template" in ASCII.
const LOCK: i64 = 0x7465_6d70_6c61_7465;

/// The name of the template's database, made by whichever process comes first.
pub(crate) async fn prepared(server: &Server, template: &Template) -> Result<String, String> {
    static DONE: tokio::sync::Mutex<Vec<(String, String)>> = tokio::sync::Mutex::const_new(Vec::new());
    let mut done = DONE.lock().await;
    if let Some((_, name)) = done
        .iter()
        .find(|(fingerprint, _)| fingerprint == template.fingerprint())
    {
        return Ok(name.clone());
    }
    let name = locked(server, template).await?;
    done.push((template.fingerprint().to_owned(), name.clone()));
    Ok(name)
}

async fn locked(server: &Server, template: &Template) -> Result<String, String> {
    let failed = |error: String| format!("the template's lock: {error}");
    let connection = server.connect().await.map_err(failed)?;
    connection
        .texts(&format!("SELECT pg_advisory_lock({LOCK})"))
        .await
        .map_err(failed)?;
    let name = find_or_make(server, template).await;
    connection.close().await.map_err(failed)?;
    name
}

async fn find_or_make(server: &Server, template: &Template) -> Result<String, String> {
    let prefix = format!("{TEMPLATE}{}_", template.fingerprint());
    if let Some(name) = server.databases(&prefix).await?.pop() {
        return Ok(name);
    }
    drop_old_ones(server).await?;
    let unfinished = format!(
        "{PREFIX}{:x}_unfinished_{}",
        seconds_since_1970(),
        template.fingerprint()
    );
    server.drop_database(&unfinished).await?;
    server.copy_database("template0", &unfinished).await?;
    template.prepare(config_for(server, &unfinished)?).await?;
    let name = format!("{prefix}{:x}", seconds_since_1970());
    publish(server, &unfinished, &name).await?;
    Ok(name)
}

/// Gives the finished template its name, and lets nobody connect to it any more.
async fn publish(server: &Server, unfinished: &str, name: &str) -> Result<(), String> {
    let (from, to) = (quoted(unfinished), quoted(name));
    server
        .execute(format!("ALTER DATABASE {from} ALLOW_CONNECTIONS false"))
        .await?;
    server
        .execute(format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{unfinished}'"
        ))
        .await?;
    server.execute(format!("ALTER DATABASE {from} RENAME TO {to}")).await
}

/// Drops the templates of builds that are a day old: another test process may be using a younger one.
async fn drop_old_ones(server: &Server) -> Result<(), String> {
    for name in server.databases(TEMPLATE).await? {
        let made = name.rsplit('_').next().unwrap_or_default();
        if super::is_old(&format!("{PREFIX}{made}")) {
            server.drop_database(&name).await?;
        }
    }
    Ok(())
}
