use config::{Connections, DatabaseConfig};
use migration::{Checked, Dialect, Moved, State, Status};
use sea_orm::prelude::DateTimeUtc;
use serde_json::json;

use super::failure::{Failure, NOT_AS_EXPECTED, OK};
use super::output::{Output, count, table};
use super::{Arguments, Command, Consent, Driver, Target, ask};

/// Does what is asked; the exit code.
pub(super) async fn run(arguments: &Arguments, output: &Output) -> Result<u8, Failure> {
    let target = &arguments.target;
    match arguments.command {
        Command::Schema { driver, erd } => schema(target, driver, erd, output),
        Command::Config => config(&target.load()?, output),
        command => {
            let config = target.load()?;
            let connections = config.connect().await?;
            let done = with_database(command, &config, &connections, output).await;
            close(connections).await;
            done
        }
    }
}

async fn with_database(
    command: Command,
    config: &DatabaseConfig,
    connections: &Connections,
    output: &Output,
) -> Result<u8, Failure> {
    let session = Session {
        database: config.describe(),
        connections,
        output,
    };
    match command {
        Command::Up => session.moved(migration::up(&connections.writer).await?),
        Command::Down { count, consent } => session.down(count as usize, consent).await,
        Command::Fresh { consent } => {
            session.everything("fresh", consent).await?;
            session.moved(migration::fresh(&connections.writer).await?)
        }
        Command::Refresh { consent } => {
            session.everything("refresh", consent).await?;
            session.moved(migration::refresh(&connections.writer).await?)
        }
        Command::Reset { consent } => {
            session.everything("reset", consent).await?;
            session.moved(migration::reset(&connections.writer).await?)
        }
        Command::Status => session.status(&migration::status(&connections.reader).await?),
        Command::Check => session.check(&migration::check(&connections.writer).await?),
        Command::Schema { .. } | Command::Config => Ok(OK),
    }
}

/// Pools that are dropped leave their last words (a checkpoint, a goodbye) to chance.
async fn close(connections: Connections) {
    let Connections {
        writer,
        reader,
        replicas,
        ..
    } = connections;
    for pool in replicas.into_iter().chain([reader, writer]) {
        if let Err(error) = pool.close().await {
            tracing::debug!(%error, "closing a connection pool failed");
        }
    }
}

struct Session<'a> {
    database: String,
    connections: &'a Connections,
    output: &'a Output,
}

impl Session<'_> {
    async fn down(&self, count: usize, consent: Consent) -> Result<u8, Failure> {
        let toll = migration::toll_of_down(&self.connections.writer, count).await?;
        ask::leave(consent, &format!("down {count}"), &self.database, &toll)?;
        self.moved(migration::down(&self.connections.writer, count).await?)
    }

    /// Leave for a command that takes away every table.
    async fn everything(&self, deed: &str, consent: Consent) -> Result<(), Failure> {
        let toll = migration::toll_of_everything(&self.connections.writer).await?;
        ask::leave(consent, deed, &self.database, &toll)
    }

    fn moved(&self, moved: Moved) -> Result<u8, Failure> {
        let value = json!({ "database": self.database, "reverted": moved.reverted, "applied": moved.applied });
        self.output.answer(&value, || {
            if moved.is_empty() {
                return format!("{}: nothing to do", self.database);
            }
            let reverted = moved
                .reverted
                .iter()
                .map(|name| ["taken back".to_owned(), name.clone()]);
            let applied = moved.applied.iter().map(|name| ["applied".to_owned(), name.clone()]);
            let rows: Vec<[String; 2]> = reverted.chain(applied).collect();
            format!("{}\n{}", self.database, table(&rows))
        })?;
        Ok(OK)
    }

    fn status(&self, status: &Status) -> Result<u8, Failure> {
        let value = json!({ "database": self.database, "status": status });
        self.output.answer(&value, || self.status_in_words(status))?;
        Ok(code(status.state == State::Complete))
    }

    fn status_in_words(&self, status: &Status) -> String {
        let mut rows: Vec<[String; 2]> = status
            .applied
            .iter()
            .map(|applied| [applied.name.clone(), moment(applied.applied_at)])
            .collect();
        let (verdict, more) = match &status.state {
            State::Complete => ("complete".to_owned(), vec![]),
            State::Pending { pending } => {
                rows.extend(pending.iter().map(|name| [name.clone(), "pending".to_owned()]));
                let todo = count(pending.len() as u64, "migration");
                (format!("pending: {todo} to apply, run `migration up`"), vec![])
            }
            State::Ahead { unknown } => (
                "ahead: the database is newer than this program, which does not know".to_owned(),
                unknown.clone(),
            ),
            State::Drifted { differences } => (
                "drifted: not what its migrations made, see `migration check` for more".to_owned(),
                differences.clone(),
            ),
        };
        let list = if rows.is_empty() {
            "  no migration is applied".to_owned()
        } else {
            table(&rows)
        };
        let more: String = more.iter().map(|line| format!("\n  - {line}")).collect();
        format!("{}\n{list}\n{verdict}{more}", self.database)
    }

    fn check(&self, checked: &Checked) -> Result<u8, Failure> {
        let differences: Vec<_> = checked
            .differences
            .iter()
            .map(|one| json!({ "difference": one, "message": one.to_string() }))
            .collect();
        let value = json!({ "database": self.database, "history": checked.history, "differences": differences });
        self.output.answer(&value, || self.check_in_words(checked))?;
        Ok(code(checked.is_sound()))
    }

    fn check_in_words(&self, checked: &Checked) -> String {
        let mut lines = vec![self.database.clone()];
        match &checked.history {
            State::Complete => {}
            State::Pending { pending } => lines.push(format!(
                "  the record is behind by {}; compared with the schema of what is applied",
                count(pending.len() as u64, "migration")
            )),
            State::Ahead { unknown } => lines.push(format!("  newer than this program: {}", unknown.join(", "))),
            State::Drifted { differences } => {
                lines.extend(differences.iter().map(|difference| format!("  {difference}")));
            }
        }
        let compared = matches!(checked.history, State::Complete | State::Pending { .. });
        lines.extend(checked.differences.iter().map(|difference| format!("  {difference}")));
        lines.push(match checked.differences.len() {
            _ if !compared => "not compared: the record does not say which schema this is".to_owned(),
            0 => "no difference".to_owned(),
            number => count(number as u64, "difference"),
        });
        lines.join("\n")
    }
}

fn code(as_expected: bool) -> u8 {
    if as_expected { OK } else { NOT_AS_EXPECTED }
}

fn moment(seconds: i64) -> String {
    let moment = DateTimeUtc::from_timestamp(seconds, 0);
    let words = moment.map(|moment| moment.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    format!("applied {}", words.unwrap_or_else(|| seconds.to_string()))
}

fn schema(target: &Target, driver: Option<Driver>, erd: bool, output: &Output) -> Result<u8, Failure> {
    if erd {
        let erd = migration::erd();
        output.answer(&json!({ "erd": erd }), || erd.clone())?;
        return Ok(OK);
    }
    let dialect = match driver {
        Some(Driver::Sqlite) => Dialect::Sqlite,
        Some(Driver::Postgres) => Dialect::Postgres,
        None => match target.load()?.driver {
            config::Driver::Sqlite => Dialect::Sqlite,
            config::Driver::Postgres => Dialect::Postgres,
        },
    };
    let schema = migration::schema(dialect);
    output.answer(&json!({ "driver": dialect, "schema": schema }), || schema.clone())?;
    Ok(OK)
}

/// Every effective value, redacted, with the layer that set it.
fn config(config: &DatabaseConfig, output: &Output) -> Result<u8, Failure> {
    let explained = config.explain();
    output.answer(explained, || explained.to_string())?;
    Ok(OK)
}
