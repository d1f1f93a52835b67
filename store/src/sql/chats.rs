//! Chats in SQL.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::chat_messages::{self, Column as Message};
use entity::chat_sessions::{Column, Entity, Model};
use entity::{SessionType, bots};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};

use super::page::Listing;
use super::{Chats, changed, corrupt, insertable};
use crate::contract::{
    BotId, ChatMessage, ChatPeer, ChatRepository, ChatSession, ChatSessionId, ChatStatus, Direction, Key,
    NewChatMessage, NewChatSession, Page, PageRequest,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl ChatRepository for Chats {
    async fn create(&self, session: NewChatSession) -> Result<ChatSession> {
        let session = &session;
        self.run("create", |db| async move {
            session.check()?;
            db.atomic(|db| create(db, session)).await
        })
        .await
    }

    async fn get(&self, id: ChatSessionId) -> Result<Option<ChatSession>> {
        self.run("get", |db| async move {
            let found = db.by_key::<Entity>(id).await?;
            found.map(ChatSession::try_from).transpose()
        })
        .await
    }

    async fn list(&self, bot: BotId, page: PageRequest) -> Result<Page<ChatSession>> {
        self.run("list", |db| async move {
            let of_bot = Entity::find().filter(Column::BotId.eq(bot));
            newest_first(&db, of_bot, &page).await
        })
        .await
    }

    async fn active(&self, bot: BotId, page: PageRequest) -> Result<Page<ChatSession>> {
        self.run("active", |db| async move {
            let active = Entity::find()
                .filter(Column::BotId.eq(bot))
                .filter(Column::Status.eq(ChatStatus::Active));
            newest_first(&db, active, &page).await
        })
        .await
    }

    async fn end(&self, id: ChatSessionId) -> Result<ChatSession> {
        self.run("end", |db| finish(db, id, ChatStatus::Completed)).await
    }

    async fn crash(&self, id: ChatSessionId) -> Result<ChatSession> {
        self.run("crash", |db| finish(db, id, ChatStatus::Crashed)).await
    }

    async fn append(&self, session: ChatSessionId, messages: Vec<NewChatMessage>) -> Result<Vec<ChatMessage>> {
        let batch = messages.as_slice();
        self.run("append", |db| async move {
            NewChatMessage::check_batch(batch)?;
            if batch.is_empty() {
                return Ok(vec![]);
            }
            db.atomic(|db| append(db, session, batch)).await
        })
        .await
    }

    async fn messages(
        &self,
        session: ChatSessionId,
        page: PageRequest,
        direction: Direction,
    ) -> Result<Page<ChatMessage>> {
        self.run("messages", |db| async move {
            let select = chat_messages::Entity::find().filter(Message::SessionId.eq(session));
            let listing = Listing {
                name: "chat_messages",
                keys: [Message::Sequence],
                direction,
            };
            let found = listing.page(&db, select, &page, |row: &chat_messages::Model| [row.sequence.into()]);
            found.await?.try_map(ChatMessage::try_from)
        })
        .await
    }

    async fn delete(&self, id: ChatSessionId) -> Result<()> {
        self.run("delete", |db| async move {
            let gone = db.write(Entity::delete_many().filter(Column::Id.eq(id))).await?;
            changed(gone, "chat_session", id)
        })
        .await
    }
}

/// Counting first takes the bot's row. A bot that is not there counts nothing, and then the insert is refused.
async fn create(db: Operation, new: &NewChatSession) -> Result<ChatSession> {
    let count = bots::Entity::update_many()
        .col_expr(
            bots::Column::ConversationCount,
            Expr::col(bots::Column::ConversationCount).add(1),
        )
        .filter(bots::Column::Id.eq(new.bot_id));
    db.write(count).await?;
    let session = ChatSession {
        id: db.new_id(),
        bot_id: new.bot_id,
        peer: new.peer,
        title: new.title.clone(),
        model: new.model.clone(),
        status: ChatStatus::Active,
        started_at: db.now(),
        ended_at: None,
        message_count: 0,
        total_input_tokens: 0,
        total_output_tokens: 0,
    };
    db.write(Entity::insert(insertable(row(&session)))).await?;
    Ok(session)
}

async fn newest_first(db: &Operation, select: Select<Entity>, page: &PageRequest) -> Result<Page<ChatSession>> {
    let listing = Listing {
        name: "chat_sessions",
        keys: [Column::StartedAt, Column::Id],
        direction: Direction::Descending,
    };
    let found = listing.page(db, select, page, |row: &Model| [row.started_at.into(), row.id.0.into()]);
    found.await?.try_map(ChatSession::try_from)
}

async fn finish(db: Operation, id: ChatSessionId, status: ChatStatus) -> Result<ChatSession> {
    let end = Entity::update_many()
        .col_expr(Column::Status, Expr::val(status))
        .col_expr(Column::EndedAt, Expr::val(db.now()))
        .filter(Column::Id.eq(id))
        .filter(Column::Status.eq(ChatStatus::Active));
    match db.write_returning(end).await?.into_iter().next() {
        Some(session) => session.try_into(),
        None => Err(not_active(&db, id).await?),
    }
}

/// Why a change of an active session found none.
async fn not_active(db: &Operation, id: ChatSessionId) -> Result<Error> {
    let found = db.by_key::<Entity>(id).await?;
    Ok(match found {
        None => Error::not_found("chat_session", id),
        Some(session) => Error::new(
            ErrorKind::InvalidTransition,
            format!(
                "the chat session {id} is {}; only an active one goes on",
                session.status
            ),
        ),
    })
}

/// What is stored under one of the batch's keys is answered; the rest is appended.
async fn append(db: Operation, session: ChatSessionId, batch: &[NewChatMessage]) -> Result<Vec<ChatMessage>> {
    let mut stored = stored_under_keys_of(&db, session, batch).await?;
    let is_new = |message: &&NewChatMessage| {
        let key = message.idempotency_key.as_ref();
        !key.is_some_and(|key| stored.contains_key(key))
    };
    let new: Vec<&NewChatMessage> = batch.iter().filter(is_new).collect();
    let mut appended = append_new(&db, session, &new).await?.into_iter();
    let answer = batch.iter().filter_map(|message| {
        let first = message.idempotency_key.as_ref().and_then(|key| stored.remove(key));
        first.or_else(|| appended.next())
    });
    Ok(answer.collect())
}

async fn stored_under_keys_of(
    db: &Operation,
    session: ChatSessionId,
    batch: &[NewChatMessage],
) -> Result<HashMap<Key, ChatMessage>> {
    let keys: Vec<&str> = batch
        .iter()
        .filter_map(|message| message.idempotency_key.as_ref().map(Key::as_str))
        .collect();
    let mut stored = HashMap::new();
    for keys in keys.chunks(1_000) {
        let select = chat_messages::Entity::find()
            .filter(Message::SessionId.eq(session))
            .filter(Message::IdempotencyKey.is_in(keys.iter().copied()));
        for row in db.all(select).await? {
            let message = ChatMessage::try_from(row)?;
            stored.extend(message.idempotency_key.clone().map(|key| (key, message)));
        }
    }
    Ok(stored)
}

/// Growing the session first takes its row, so that another who appends waits or starts again, and tells where the new
/// messages begin.
async fn append_new(db: &Operation, session: ChatSessionId, new: &[&NewChatMessage]) -> Result<Vec<ChatMessage>> {
    if new.is_empty() {
        return Ok(vec![]);
    }
    let growth = Growth::by(new)?;
    let now = db.now();
    let session = grow(db, session, &growth).await?;
    let begin = session.message_count - growth.messages + 1;
    let messages: Vec<ChatMessage> = (begin..)
        .zip(new)
        .map(|(sequence, new)| made(db, session.id, sequence, new, now))
        .collect();
    db.insert_all::<chat_messages::Entity>(messages.iter().map(message_row))
        .await?;
    credit(db, session.bot_id, growth.input_tokens + growth.output_tokens, now).await?;
    Ok(messages)
}

/// What a batch adds to the counters.
struct Growth {
    messages: i64,
    input_tokens: i64,
    output_tokens: i64,
}

impl Growth {
    fn by(new: &[&NewChatMessage]) -> Result<Self> {
        let mut growth = Self {
            messages: i64::try_from(new.len()).unwrap_or(i64::MAX),
            input_tokens: 0,
            output_tokens: 0,
        };
        for message in new {
            growth.input_tokens = sum(growth.input_tokens, message.input_tokens.unwrap_or(0))?;
            growth.output_tokens = sum(growth.output_tokens, message.output_tokens.unwrap_or(0))?;
        }
        sum(growth.input_tokens, growth.output_tokens)?;
        Ok(growth)
    }
}

fn sum(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b)
        .ok_or_else(|| Error::invalid("messages", "sum up to more tokens than 2^63-1"))
}

/// A counter that would pass 2^63-1 is an error on both databases: Postgres's integers are checked, and the integer
/// columns of SQLite's strict tables do not take the float that it would make of it.
async fn grow(db: &Operation, session: ChatSessionId, growth: &Growth) -> Result<Model> {
    let more = |column: Column, count: i64| Expr::col(column).add(count);
    let update = Entity::update_many()
        .col_expr(Column::MessageCount, more(Column::MessageCount, growth.messages))
        .col_expr(
            Column::TotalInputTokens,
            more(Column::TotalInputTokens, growth.input_tokens),
        )
        .col_expr(
            Column::TotalOutputTokens,
            more(Column::TotalOutputTokens, growth.output_tokens),
        )
        .filter(Column::Id.eq(session))
        .filter(Column::Status.eq(ChatStatus::Active));
    match db.write_returning(update).await?.into_iter().next() {
        Some(session) => Ok(session),
        None => Err(not_active(db, session).await?),
    }
}

/// Counts the tokens for the bot, and that it was active now; never that it was earlier than it is known to have been,
/// for the clocks of several machines differ.
async fn credit(db: &Operation, bot: BotId, tokens: i64, now: DateTime<Utc>) -> Result<()> {
    let (used, active) = (bots::Column::TotalTokensUsed, bots::Column::LastActiveAt);
    let later = Expr::case(Expr::col(active).gt(now), Expr::col(active)).finally(now);
    let update = bots::Entity::update_many()
        .col_expr(used, Expr::col(used).add(tokens))
        .col_expr(active, later.into())
        .filter(bots::Column::Id.eq(bot));
    changed(db.write(update).await?, "bot", bot)
}

/// A message as it will be stored.
fn made(
    db: &Operation,
    session_id: ChatSessionId,
    sequence: i64,
    new: &NewChatMessage,
    created_at: DateTime<Utc>,
) -> ChatMessage {
    ChatMessage {
        id: db.new_id(),
        session_id,
        sequence,
        role: new.role,
        content: new.content.clone(),
        model: new.model.clone(),
        input_tokens: new.input_tokens,
        output_tokens: new.output_tokens,
        stop_reason: new.stop_reason.clone(),
        idempotency_key: new.idempotency_key.clone(),
        created_at,
    }
}

fn row(session: &ChatSession) -> Model {
    let (session_type, peer_bot_id) = match session.peer {
        ChatPeer::User => (SessionType::User, None),
        ChatPeer::Bot(peer) => (SessionType::Bot, Some(peer)),
    };
    Model {
        id: session.id,
        bot_id: session.bot_id,
        title: session.title.clone(),
        model: session.model.clone(),
        status: session.status,
        started_at: session.started_at,
        ended_at: session.ended_at,
        message_count: session.message_count,
        total_input_tokens: session.total_input_tokens,
        total_output_tokens: session.total_output_tokens,
        session_type,
        peer_bot_id,
    }
}

fn message_row(message: &ChatMessage) -> chat_messages::Model {
    chat_messages::Model {
        id: message.id,
        session_id: message.session_id,
        sequence: message.sequence,
        role: message.role,
        content: message.content.clone(),
        model: message.model.clone(),
        input_tokens: message.input_tokens,
        output_tokens: message.output_tokens,
        stop_reason: message.stop_reason.clone(),
        idempotency_key: message.idempotency_key.as_ref().map(Key::to_string),
        created_at: message.created_at,
    }
}

impl TryFrom<Model> for ChatSession {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let peer = match (row.session_type, row.peer_bot_id) {
            (SessionType::User, None) => ChatPeer::User,
            (SessionType::Bot, Some(peer)) => ChatPeer::Bot(peer),
            _ => {
                let rule = Error::invalid("peer_bot_id", "is set exactly where session_type is bot");
                return Err(corrupt("chat_sessions", row.id, rule));
            }
        };
        Ok(Self {
            id: row.id,
            bot_id: row.bot_id,
            peer,
            title: row.title,
            model: row.model,
            status: row.status,
            started_at: row.started_at,
            ended_at: row.ended_at,
            message_count: row.message_count,
            total_input_tokens: row.total_input_tokens,
            total_output_tokens: row.total_output_tokens,
        })
    }
}

impl TryFrom<chat_messages::Model> for ChatMessage {
    type Error = Error;

    fn try_from(row: chat_messages::Model) -> Result<Self> {
        let key = row.idempotency_key.map(Key::new).transpose();
        Ok(Self {
            idempotency_key: key.map_err(|rule| corrupt("chat_messages", row.id, rule))?,
            id: row.id,
            session_id: row.session_id,
            sequence: row.sequence,
            role: row.role,
            content: row.content,
            model: row.model,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            stop_reason: row.stop_reason,
            created_at: row.created_at,
        })
    }
}
