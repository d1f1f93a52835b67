//! Keeps a conversation, reads it back from its end, and lets two readers go on from one place.
//!
//! `cargo run -p examples --bin chat_history`: on SQLite without any set-up, and wherever STORE_URL, store.toml and the
//! other settings of Undercroft say otherwise. What it prints is the same on either database.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use examples::table::{Align, count, lines};
use store::prelude::*;

const USAGE: &str = "\
Usage: chat_history

Appends a conversation of twelve turns, reads it back five at a time from its end, and forks the position of a reader.
Each run begins a conversation of its own. The database is the one that Undercroft's configuration names; with no
configuration at all, a SQLite file in your data directory.";

/// Whose conversation it is.
const BOT: &str = "night-porter";
const MODEL: &str = "example-1";

/// Who says what, with the tokens that the model read and wrote for it.
type Turn = (ChatRole, &'static str, Option<(i64, i64)>);

const TURNS: [Turn; 12] = {
    use ChatRole::{Assistant, System, Tool, User};
    [
        (System, "You are the porter of a small hotel, at night.", None),
        (User, "Is there a room left?", None),
        (Assistant, "One, under the roof. It has the best view.", Some((41, 12))),
        (User, "What does it cost?", None),
        (Assistant, "Let me look.", Some((60, 4))),
        (Tool, "{\"room\": 9, \"price\": 64}", None),
        (Assistant, "Sixty-four, with breakfast.", Some((79, 7))),
        (User, "I take it. When is breakfast?", None),
        (
            Assistant,
            "From seven. The rolls come at six, if you are early.",
            Some((97, 14)),
        ),
        (User, "Wake me at six, then.", None),
        (Assistant, "I will knock twice.", Some((118, 6))),
        (User, "Good night!", None),
    ]
};

#[tokio::main]
#[allow(clippy::print_stderr, reason = "a program tells its user what went wrong")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run().await,
        ["-h" | "--help"] => Ok(format!("{USAGE}\n")),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let printed = outcome.and_then(|report| Ok(std::io::stdout().write_all(report.as_bytes())?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<String, Box<dyn Error>> {
    let store = Store::open(DatabaseConfig::load()?).await?;
    let mut report = String::new();
    let bot = find_or_create(&store).await?;
    let session = store.chats().create(NewChatSession::new(bot, MODEL)).await?.id;
    append(&mut report, &store, session).await?;
    page_back(&mut report, &store, session).await?;
    fork(&mut report, &store, session).await?;
    store.chats().end(session).await?;
    write_bot(&mut report, &store, bot).await?;
    store.close().await?;
    Ok(report)
}

async fn find_or_create(store: &Store) -> Result<BotId, Box<dyn Error>> {
    let slug = Slug::new(BOT)?;
    if let Some(found) = store.bots().get_by_slug(&slug).await? {
        return Ok(found.id);
    }
    Ok(store.bots().create(NewBot::new(slug, "Night Porter")).await?.id)
}

/// In three batches. The second is sent twice, as a program does that did not hear whether the first try arrived: its
/// messages carry keys, and so they are stored once.
async fn append(report: &mut String, store: &Store, session: ChatSessionId) -> Result<(), Box<dyn Error>> {
    let messages = turns()?;
    let mut rows = vec![["BATCH", "SENT", "SEQUENCES", "MESSAGES", "TOKENS IN", "OUT"].map(str::to_owned)];
    for (name, batch) in [
        ("first", &messages[..3]),
        ("second", &messages[3..7]),
        ("second again", &messages[3..7]),
        ("third", &messages[7..]),
    ] {
        let stored = store.chats().append(session, batch.to_vec()).await?;
        let told = store.chats().get(session).await?.ok_or("the session is gone")?;
        let sequences = (stored.first(), stored.last());
        let (Some(first), Some(last)) = sequences else { continue };
        rows.push([
            name.to_owned(),
            batch.len().to_string(),
            format!("{} to {}", first.sequence, last.sequence),
            told.message_count.to_string(),
            told.total_input_tokens.to_string(),
            told.total_output_tokens.to_string(),
        ]);
    }
    let align = [
        Align::Left,
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
    ];
    write!(report, "Appended:\n{}", lines(align, &rows))?;
    Ok(())
}

fn turns() -> store::Result<Vec<NewChatMessage>> {
    let turn = |(at, (role, content, tokens)): (usize, Turn)| {
        let message = NewChatMessage::new(role, content).once(Key::new(format!("turn {at}"))?);
        Ok(match tokens {
            Some((input, output)) => message.tokens(input, output),
            None => message,
        })
    };
    TURNS.into_iter().enumerate().map(turn).collect()
}

async fn page_back(report: &mut String, store: &Store, session: ChatSessionId) -> Result<(), Box<dyn Error>> {
    let mut request = PageRequest::first(5);
    for number in 1.. {
        let page = store.chats().messages(session, request, Direction::Descending).await?;
        write!(report, "\nFrom the end, page {number}:\n{}", listed(&page.items))?;
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, 5),
            None => break,
        }
    }
    Ok(())
}

/// A cursor is text, and belongs to nobody: whoever holds it goes on from there, at their own pace.
async fn fork(report: &mut String, store: &Store, session: ChatSessionId) -> Result<(), Box<dyn Error>> {
    let read = async |request| store.chats().messages(session, request, Direction::Ascending).await;
    let shared = read(PageRequest::first(7)).await?;
    let cursor = shared.next.ok_or("the conversation ends too soon")?.to_string();
    let place = shared.items.last().map_or(0, |message| message.sequence);

    let quick = read(PageRequest::after(cursor.parse()?, 5)).await?;
    let slow = read(PageRequest::after(cursor.parse()?, 2)).await?;
    let further = read(PageRequest::after(slow.next.ok_or("the slow reader is through")?, 2)).await?;
    writeln!(report, "\nTwo readers go on from one cursor, after message {place}:")?;
    let rows = [
        ["quick".to_owned(), sequences(&quick.items)],
        ["slow".to_owned(), sequences(&slow.items)],
        ["slow, next page".to_owned(), sequences(&further.items)],
    ];
    write!(report, "{}", lines([Align::Left; 2], &rows))?;
    Ok(())
}

async fn write_bot(report: &mut String, store: &Store, bot: BotId) -> Result<(), Box<dyn Error>> {
    let bot = store.bots().get(bot).await?.ok_or("the bot is gone")?;
    let conversations = usize::try_from(bot.conversation_count)?;
    writeln!(
        report,
        "\n{} has had {} and used {} tokens.\n  database  {}",
        bot.name,
        count(conversations, "conversation"),
        bot.total_tokens_used,
        store.config().describe()
    )?;
    Ok(())
}

fn listed(messages: &[ChatMessage]) -> String {
    let rows: Vec<_> = messages
        .iter()
        .map(|message| {
            [
                message.sequence.to_string(),
                message.role.to_string(),
                message.content.clone(),
            ]
        })
        .collect();
    lines([Align::Right, Align::Left, Align::Left], &rows)
}

fn sequences(messages: &[ChatMessage]) -> String {
    let numbers: Vec<_> = messages.iter().map(|message| message.sequence.to_string()).collect();
    numbers.join(", ")
}
