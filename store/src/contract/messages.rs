//! Messages between bots: to one another and to channels.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BotId, BotMessageId, ChannelName, Page, PageRequest, Prune, check};
use crate::Result;

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipient {
    /// One bot.
    Direct(BotId),
    /// Whoever listens to this channel.
    Channel(ChannelName),
}

/// A message from a bot. It is a record: the bots and the channel that it names need not exist, and it survives them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BotMessage {
    /// Its id, for good.
    pub id: BotMessageId,
    /// Who sent it.
    pub sender_bot_id: BotId,
    /// The sender's name at that time.
    pub sender_bot_name: String,
    /// Whom it is for.
    pub recipient: Recipient,
    /// What kind of message it is, in the bots' own words.
    pub message_type: String,
    /// What it says.
    pub body: Value,
    /// The message that it answers.
    pub reply_to: Option<BotMessageId>,
    /// When it was sent.
    pub timestamp: DateTime<Utc>,
}

/// A message to send. [`NewBotMessage::direct`] and [`NewBotMessage::channel`] fill in the usual rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewBotMessage {
    /// Who sends it.
    pub sender_bot_id: BotId,
    /// The sender's name: not blank.
    pub sender_bot_name: String,
    /// Whom it is for.
    pub recipient: Recipient,
    /// What kind of message it is: not blank.
    pub message_type: String,
    /// What it says.
    pub body: Value,
    /// The message that it answers.
    #[serde(default)]
    pub reply_to: Option<BotMessageId>,
}

impl NewBotMessage {
    /// A message of the type `text` to one bot.
    pub fn direct(sender: BotId, name: impl Into<String>, to: BotId, body: impl Into<Value>) -> Self {
        Self::to(sender, name, Recipient::Direct(to), body)
    }

    /// A message of the type `text` to a channel.
    pub fn channel(sender: BotId, name: impl Into<String>, channel: ChannelName, body: impl Into<Value>) -> Self {
        Self::to(sender, name, Recipient::Channel(channel), body)
    }

    fn to(sender: BotId, name: impl Into<String>, recipient: Recipient, body: impl Into<Value>) -> Self {
        Self {
            sender_bot_id: sender,
            sender_bot_name: name.into(),
            recipient,
            message_type: "text".to_owned(),
            body: body.into(),
            reply_to: None,
        }
    }

    /// The same message as the answer to another.
    pub fn in_reply_to(mut self, message: BotMessageId) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// The message with its body as both databases give it back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule, with `before` in front of it.
    pub fn checked(mut self, before: &str) -> Result<Self> {
        check::name(&format!("{before}sender_bot_name"), &self.sender_bot_name)?;
        check::name(&format!("{before}message_type"), &self.message_type)?;
        self.body = check::json(&format!("{before}body"), self.body)?;
        Ok(self)
    }
}

/// A channel: a name under which bots find each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotChannel {
    /// Its unique name.
    pub name: ChannelName,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it; the channel survives that bot.
    pub created_by_bot_id: BotId,
}

/// That a bot listens to a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Who listens.
    pub bot_id: BotId,
    /// To what.
    pub channel_name: ChannelName,
    /// Since when.
    pub subscribed_at: DateTime<Utc>,
}

/// Keeps messages between bots, and the channels they go to.
pub trait MessageRepository: Send + Sync {
    /// Stores a message and answers it as stored.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn send(&self, message: NewBotMessage) -> impl Future<Output = Result<BotMessage>> + Send;

    /// Stores messages, all or none of them, and answers them as stored, in the order given; lists show the last one as
    /// the newest. Any number of them: they go in statements of up to 1,000, within one transaction, which on SQLite
    /// holds up other writers. None are no work.
    ///
    /// # Errors
    /// `InvalidInput` naming the message's place in the list and its field.
    fn send_many(&self, messages: Vec<NewBotMessage>) -> impl Future<Output = Result<Vec<BotMessage>>> + Send;

    /// What two bots sent to each other directly, in both directions, newest first. Of a bot and itself: its notes to
    /// itself.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn between(&self, a: BotId, b: BotId, page: PageRequest) -> impl Future<Output = Result<Page<BotMessage>>> + Send;

    /// What was sent to a channel, newest first; nothing for one that does not exist.
    ///
    /// # Errors
    /// As [`between`](Self::between).
    fn in_channel(
        &self,
        channel: &ChannelName,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<BotMessage>>> + Send;

    /// Removes the messages that were sent before an instant, and answers how many. Channels and subscriptions stay.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn prune(&self, old: Prune) -> impl Future<Output = Result<u64>> + Send;

    /// Creates a channel.
    ///
    /// # Errors
    /// `Conflict` (`pk_bot_channels`) when the name is taken.
    fn create_channel(&self, name: ChannelName, creator: BotId) -> impl Future<Output = Result<BotChannel>> + Send;

    /// The channels by name, byte by byte.
    ///
    /// # Errors
    /// As [`between`](Self::between).
    fn channels(&self, page: PageRequest) -> impl Future<Output = Result<Page<BotChannel>>> + Send;

    /// Lets a bot listen to a channel, and answers whether that is new. One that listens already does so since the first
    /// time. The bot need not exist, as for messages.
    ///
    /// # Errors
    /// `NotFound` for an unknown channel.
    fn subscribe(&self, bot: BotId, channel: &ChannelName) -> impl Future<Output = Result<bool>> + Send;

    /// Ends that, and answers whether the bot had listened.
    fn unsubscribe(&self, bot: BotId, channel: &ChannelName) -> impl Future<Output = Result<bool>> + Send;

    /// What a bot listens to, by the channels' names, byte by byte.
    ///
    /// # Errors
    /// As [`between`](Self::between).
    fn subscriptions(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<Subscription>>> + Send;

    /// Who listens to a channel, the longest first; nobody for one that does not exist.
    ///
    /// # Errors
    /// As [`between`](Self::between).
    fn subscribers(
        &self,
        channel: &ChannelName,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<Subscription>>> + Send;
}
