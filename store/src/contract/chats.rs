//! Chats: a bot's conversations, turn by turn.

use std::collections::HashMap;
use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BotId, ChatMessageId, ChatRole, ChatSessionId, ChatStatus, Direction, Key, Page, PageRequest, check};
use crate::{Error, Result};

/// Whom a bot talks with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatPeer {
    /// A person.
    #[default]
    User,
    /// Another bot. The session outlives it.
    Bot(BotId),
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatSession {
    /// Its id, for good.
    pub id: ChatSessionId,
    /// Whose conversation it is.
    pub bot_id: BotId,
    /// Whom the bot talks with.
    pub peer: ChatPeer,
    /// What it is about, if it has been named.
    pub title: Option<String>,
    /// The language model that it began with.
    pub model: String,
    /// How it stands.
    pub status: ChatStatus,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` as long as it is active.
    pub ended_at: Option<DateTime<Utc>>,
    /// How many messages it has; the sequence of the last one.
    pub message_count: i64,
    /// The sum of its messages' input tokens.
    pub total_input_tokens: i64,
    /// The sum of its messages' output tokens.
    pub total_output_tokens: i64,
}

/// What a new conversation is made of. [`NewChatSession::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChatSession {
    /// Whose conversation it is.
    pub bot_id: BotId,
    /// Whom the bot talks with.
    #[serde(default)]
    pub peer: ChatPeer,
    /// What it is about.
    #[serde(default)]
    pub title: Option<String>,
    /// The language model that it begins with: not blank.
    pub model: String,
}

impl NewChatSession {
    /// A conversation with a person, without a title.
    pub fn new(bot_id: BotId, model: impl Into<String>) -> Self {
        Self {
            bot_id,
            peer: ChatPeer::User,
            title: None,
            model: model.into(),
        }
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        check::name("model", &self.model)?;
        self.title.iter().try_for_each(|title| check::text("title", title))
    }
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Its id, for good.
    pub id: ChatMessageId,
    /// The conversation.
    pub session_id: ChatSessionId,
    /// Its place in the conversation: 1 for the first, and one more each time, without gaps.
    pub sequence: i64,
    /// Who speaks.
    pub role: ChatRole,
    /// What is said; may be empty.
    pub content: String,
    /// The language model that said it.
    pub model: Option<String>,
    /// The tokens that went into the model for it.
    pub input_tokens: Option<i64>,
    /// The tokens that came out of the model for it.
    pub output_tokens: Option<i64>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// What it was appended under, if it shall not be appended twice.
    pub idempotency_key: Option<Key>,
    /// When it was appended.
    pub created_at: DateTime<Utc>,
}

/// A message to append. [`NewChatMessage::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
    /// The language model that said it.
    #[serde(default)]
    pub model: Option<String>,
    /// The tokens that went into the model for it: not negative.
    #[serde(default)]
    pub input_tokens: Option<i64>,
    /// The tokens that came out of the model for it: not negative.
    #[serde(default)]
    pub output_tokens: Option<i64>,
    /// Why the model stopped.
    #[serde(default)]
    pub stop_reason: Option<String>,
    /// Appending a second message with this key to the session appends nothing: see [`ChatRepository::append`].
    #[serde(default)]
    pub idempotency_key: Option<Key>,
}

impl NewChatMessage {
    /// What somebody says, and nothing else.
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            model: None,
            input_tokens: None,
            output_tokens: None,
            stop_reason: None,
            idempotency_key: None,
        }
    }

    /// The same message, to be appended once only.
    pub fn once(mut self, key: Key) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// The same message with the tokens it took.
    pub fn tokens(mut self, input: i64, output: i64) -> Self {
        (self.input_tokens, self.output_tokens) = (Some(input), Some(output));
        self
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule, as a part of `message`.
    pub fn check(&self, message: &str) -> Result<()> {
        let texts = [
            ("content", Some(&self.content)),
            ("model", self.model.as_ref()),
            ("stop_reason", self.stop_reason.as_ref()),
        ];
        for (field, text) in texts {
            text.map_or(Ok(()), |text| check::text(&format!("{message}.{field}"), text))?;
        }
        let counts = [
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
        ];
        counts.into_iter().try_for_each(|(field, count)| {
            count.map_or(Ok(()), |count| {
                check::not_negative(&format!("{message}.{field}"), count)
            })
        })
    }

    /// [`check`](Self::check) for a whole batch, whose keys are all different.
    ///
    /// # Errors
    /// `InvalidInput` naming the message's place in the batch and its field.
    pub fn check_batch(batch: &[Self]) -> Result<()> {
        let mut first = HashMap::new();
        for (at, message) in batch.iter().enumerate() {
            message.check(&format!("messages[{at}]"))?;
            let Some(key) = &message.idempotency_key else { continue };
            if let Some(earlier) = first.insert(key, at) {
                return Err(Error::invalid(
                    &format!("messages[{at}].idempotency_key"),
                    format_args!("is that of messages[{earlier}] too; a key stands for one message"),
                ));
            }
        }
        Ok(())
    }
}

/// Keeps conversations.
pub trait ChatRepository: Send + Sync {
    /// Begins a conversation and counts it in the bot's `conversation_count`, both or neither.
    ///
    /// # Errors
    /// `ForeignKey` (`fk_chat_sessions_bot_id`) when the bot does not exist; `InvalidInput`.
    fn create(&self, session: NewChatSession) -> impl Future<Output = Result<ChatSession>> + Send;

    /// The conversation with this id.
    fn get(&self, id: ChatSessionId) -> impl Future<Output = Result<Option<ChatSession>>> + Send;

    /// The bot's conversations, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<ChatSession>>> + Send;

    /// The bot's conversations that are active, newest first.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn active(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<ChatSession>>> + Send;

    /// Ends an active conversation: it is completed, from now on.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` when it has ended already.
    fn end(&self, id: ChatSessionId) -> impl Future<Output = Result<ChatSession>> + Send;

    /// Notes that an active conversation was cut off: it is crashed, from now on.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    fn crash(&self, id: ChatSessionId) -> impl Future<Output = Result<ChatSession>> + Send;

    /// Appends messages to an active conversation, all or none of them, and answers them as stored, in the order given.
    /// Their sequences follow the last one without gaps, whoever else appends at the same time. In the same transaction
    /// the session's `message_count` and token sums grow, and the bot's `total_tokens_used` (input and output) and
    /// `last_active_at`.
    ///
    /// A message whose `idempotency_key` the session has already is not appended again: in its place stands the stored
    /// message, as it was appended the first time, and it counts nowhere. So a batch can be sent again as it was after
    /// an error that leaves open what happened, even when the conversation has ended since. In a batch of known and
    /// unknown keys the unknown ones are appended, in their order, behind the last message. Messages without a key are
    /// always appended.
    ///
    /// A batch may have any length: it goes in statements of up to 1,000 messages, within one transaction, which holds
    /// up others who append to the same conversation or to the same bot's. No messages at all are no work: the session
    /// is not looked at.
    ///
    /// # Errors
    /// `NotFound` for an unknown session; `InvalidTransition` when it has ended and something is left to append;
    /// `InvalidInput`, also when a key is twice in the batch, or when a sum of tokens passes 2⁶³−1.
    fn append(
        &self,
        session: ChatSessionId,
        messages: Vec<NewChatMessage>,
    ) -> impl Future<Output = Result<Vec<ChatMessage>>> + Send;

    /// The conversation's messages by their sequence, oldest first or newest first. A page costs the same wherever in
    /// the conversation it is.
    ///
    /// # Errors
    /// As [`list`](Self::list); a cursor is good for the direction that it was made in.
    fn messages(
        &self,
        session: ChatSessionId,
        page: PageRequest,
        direction: Direction,
    ) -> impl Future<Output = Result<Page<ChatMessage>>> + Send;

    /// Deletes the conversation with its messages. What the bot has counted stays counted.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: ChatSessionId) -> impl Future<Output = Result<()>> + Send;
}
