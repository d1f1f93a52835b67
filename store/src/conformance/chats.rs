//! Chats.

pub mod appending;
pub mod reading;
pub mod repeating;
pub mod sessions;

use super::{Case, World, a_bot, pages};
use crate::contract::*;

/// What must hold.
pub fn cases<W: World>() -> Vec<Case<W>> {
    [
        sessions::cases(),
        appending::cases(),
        repeating::cases(),
        reading::cases(),
    ]
    .concat()
}

fn said(role: ChatRole, content: &str) -> NewChatMessage {
    NewChatMessage::new(role, content)
}

/// Messages of a user: their numbers.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<NewChatMessage> {
    numbers.map(|n| said(ChatRole::User, &n.to_string())).collect()
}

async fn bot(store: &impl World, slug: &str) -> BotId {
    store.bots().create(a_bot(slug)).await.unwrap().id
}

async fn session(store: &impl World, bot: BotId) -> ChatSession {
    store.chats().create(NewChatSession::new(bot, "model-1")).await.unwrap()
}

async fn a_session(store: &impl World) -> ChatSession {
    session(store, bot(store, "owl").await).await
}

async fn all(store: &impl World, session: ChatSessionId) -> Vec<ChatMessage> {
    let chats = store.chats();
    pages(1_000, |page| chats.messages(session, page, Direction::Ascending)).await
}

fn contents(messages: &[ChatMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.content.as_str()).collect()
}

/// The sequences are 1, 2, 3 and so on, and the session counts them.
async fn assert_gap_free(store: &impl World, session: ChatSessionId, count: i64) {
    let sequences: Vec<i64> = all(store, session).await.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, (1..=count).collect::<Vec<_>>());
    let session = store.chats().get(session).await.unwrap().unwrap();
    assert_eq!(session.message_count, count);
}

/// `tasks` at once, each with a number.
async fn at_once<T: Send + 'static, F>(tasks: usize, work: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let spawned: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(task))).collect();
    let mut answers = vec![];
    for task in spawned {
        answers.push(task.await.unwrap());
    }
    answers
}
