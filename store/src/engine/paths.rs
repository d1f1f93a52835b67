//! The read path and the write path: how one command that is an operation by itself reaches the database.

use sea_orm::DbErr;

use super::appends::Joined;
use super::connection::{Answer, Command};
use super::errors::breaks_the_connection;
use super::lane::Held;
use super::line::{Failure, Outcome};
use super::operation::{Operation, Progress};
use super::{Engine, transaction};
use crate::Result;

impl Engine {
    pub(super) async fn read(&self, command: &Command, table: &str) -> Result<Answer> {
        self.refuse_to_wait_for_itself()?;
        let held = self.reader.take().await?;
        self.read_on(held, command, table).await
    }

    /// As [`read`](Self::read), together with others of its text when it would have to wait, or when they do.
    pub(super) async fn read_one(&self, command: &Command, table: &str) -> Result<Answer> {
        if !self.reads.has(command.sql())
            && let Some(place) = self.reader.free_place()
        {
            let held = self.reader.held(place).await?;
            return self.read_on(held, command, table).await;
        }
        Box::pin(self.read_with_others(command, table)).await
    }

    async fn read_with_others(&self, command: &Command, table: &str) -> Result<Answer> {
        self.refuse_to_wait_for_itself()?;
        let merges = matches!(command, Command::Statement(read) if self.running.can_be_merged(read));
        if merges && let Some(answer) = self.reads.join(command).await {
            return self.read_again_if_broken(answer, command, table).await;
        }
        self.read(command, table).await
    }

    /// A transaction that has the only connection there is would wait for itself.
    fn refuse_to_wait_for_itself(&self) -> Result<()> {
        if self.reader.is_the_only_place_of(&self.writer) {
            transaction::refuse_inside(self)?;
        }
        Ok(())
    }

    async fn read_on(&self, mut held: Held, command: &Command, table: &str) -> Result<Answer> {
        self.counters.sent(command.sql());
        let answer = held.perform(command.clone()).await;
        drop(held);
        self.read_again_if_broken(answer, command, table).await
    }

    /// A connection that lay idle may have been cut off, or its runtime may have ended: a read loses nothing by it.
    async fn read_again_if_broken(
        &self,
        answer: std::result::Result<Answer, DbErr>,
        command: &Command,
        table: &str,
    ) -> Result<Answer> {
        let error = match answer {
            Err(error) if breaks_the_connection(&error) => error,
            settled => return settled.map_err(|error| self.running.classify(&error, table)),
        };
        // Boxed, as it is rare.
        Box::pin(self.read_again(error, command, table)).await
    }

    async fn read_again(&self, error: DbErr, command: &Command, table: &str) -> Result<Answer> {
        let Ok(mut held) = self.reader.take_tested().await else {
            return Err(self.running.classify(&error, table));
        };
        self.counters.sent(command.sql());
        let answer = held.perform(command.clone()).await;
        answer.map_err(|error| self.running.classify(&error, table))
    }

    /// On either database a command by itself is its own transaction.
    pub(super) async fn write(&self, command: Command, table: &str, operation: &Operation) -> Result<Answer> {
        transaction::refuse_inside(self)?;
        let progress = operation.progress();
        let outcome = match (&self.line, &self.appends) {
            _ if operation.is_durable() && self.lowered.is_some() => {
                let held = Box::pin(self.durable_writer()).await?;
                self.send(held, command, progress).await
            }
            (Some(line), _) => match line.alone().await {
                Some(held) => self.send(held?, command, progress).await,
                None => Box::pin(line.run(command, progress)).await?,
            },
            (None, Some(appends)) => match Box::pin(appends.join(&command, progress)).await? {
                Joined::Done(outcome) => outcome,
                // A flight ends when the command has its answer.
                Joined::Alone(_flight) => self.send(self.writer.take().await?, command, progress).await,
            },
            (None, None) => self.send(self.writer.take().await?, command, progress).await,
        };
        progress.settled();
        outcome.map_err(|failure| self.failed(failure, table))
    }

    /// The writer, for a change that is durable although others are not.
    pub(super) async fn durable_writer(&self) -> Result<Held> {
        let mut held = self.writer.take().await?;
        if let Some(lowered) = self.lowered {
            let raised = held.raise(lowered).await;
            raised.map_err(|error| self.running.classify(&error, ""))?;
        }
        Ok(held)
    }

    async fn send(&self, mut held: Held, command: Command, progress: &Progress) -> Outcome<Answer> {
        progress.sends();
        self.counters.sent(command.sql());
        held.perform(command).await.map_err(Failure::Own)
    }
}
