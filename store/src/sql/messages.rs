//! Messages between bots in SQL.

use chrono::{DateTime, Utc};
use entity::bot_messages::{Column, Entity, Model};
use entity::{RecipientType, bot_channels, bot_subscriptions};
use sea_orm::sea_query::{Condition, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};

use super::page::Listing;
use super::prune::prune;
use super::{Messages, corrupt, insertable};
use crate::clock::to_microseconds;
use crate::contract::{
    BotChannel, BotId, BotMessage, ChannelName, CursorKey, Direction, MessageRepository, NewBotMessage, Page,
    PageRequest, Prune, Recipient, Subscription,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

const NEWEST_FIRST: Listing<Column, 2> = Listing {
    name: "bot_messages",
    keys: [Column::Timestamp, Column::Id],
    direction: Direction::Descending,
};

impl MessageRepository for Messages {
    async fn send(&self, message: NewBotMessage) -> Result<BotMessage> {
        self.run("send", |db| async move {
            let message = made(&db, &message.checked("")?, db.now());
            db.write(Entity::insert(insertable(row(&message)))).await?;
            Ok(message)
        })
        .await
    }

    async fn send_many(&self, messages: Vec<NewBotMessage>) -> Result<Vec<BotMessage>> {
        self.run("send_many", |db| async move {
            let messages = messages.into_iter().enumerate();
            let checked = messages.map(|(at, message)| message.checked(&format!("messages[{at}].")));
            let messages = checked.collect::<Result<Vec<_>>>()?;
            if messages.is_empty() {
                return Ok(vec![]);
            }
            let messages = messages.as_slice();
            db.atomic(|db| send_many(db, messages)).await
        })
        .await
    }

    async fn between(&self, a: BotId, b: BotId, page: PageRequest) -> Result<Page<BotMessage>> {
        self.run("between", |db| async move {
            let there = sent(a, b);
            let found = if a == b {
                NEWEST_FIRST.page(&db, there, &page, place).await?
            } else {
                NEWEST_FIRST
                    .page_of_both(&db, [there, sent(b, a)], &page, place)
                    .await?
            };
            found.try_map(BotMessage::try_from)
        })
        .await
    }

    async fn in_channel(&self, channel: &ChannelName, page: PageRequest) -> Result<Page<BotMessage>> {
        self.run("in_channel", |db| async move {
            let select = Entity::find().filter(Column::RecipientChannel.eq(channel.as_str()));
            let found = NEWEST_FIRST.page(&db, select, &page, place).await?;
            found.try_map(BotMessage::try_from)
        })
        .await
    }

    async fn prune(&self, old: Prune) -> Result<u64> {
        let before = Condition::all().add(Column::Timestamp.lt(to_microseconds(old.older_than)));
        prune::<Entity>(&self.0, "bot_message", Column::Id, Column::Timestamp, old, before).await
    }

    async fn create_channel(&self, name: ChannelName, creator: BotId) -> Result<BotChannel> {
        self.run("create_channel", |db| async move {
            let channel = BotChannel {
                name,
                created_at: db.now(),
                created_by_bot_id: creator,
            };
            let row = bot_channels::Model {
                name: channel.name.to_string(),
                created_at: channel.created_at,
                created_by_bot_id: creator,
            };
            db.write(bot_channels::Entity::insert(insertable(row))).await?;
            Ok(channel)
        })
        .await
    }

    async fn channels(&self, page: PageRequest) -> Result<Page<BotChannel>> {
        self.run("channels", |db| async move {
            let listing = Listing {
                name: "bot_channels",
                keys: [bot_channels::Column::Name],
                direction: Direction::Ascending,
            };
            let select = bot_channels::Entity::find();
            let found = listing.page(&db, select, &page, |row: &bot_channels::Model| {
                [row.name.clone().into()]
            });
            found.await?.try_map(BotChannel::try_from)
        })
        .await
    }

    async fn subscribe(&self, bot: BotId, channel: &ChannelName) -> Result<bool> {
        self.run("subscribe", |db| async move {
            let row = bot_subscriptions::Model {
                bot_id: bot,
                channel_name: channel.to_string(),
                subscribed_at: db.now(),
            };
            let key = [bot_subscriptions::Column::BotId, bot_subscriptions::Column::ChannelName];
            let insert = bot_subscriptions::Entity::insert(insertable(row))
                .on_conflict(OnConflict::columns(key).do_nothing().to_owned());
            let inserted = db.write(insert).await;
            let new = inserted.map_err(|error| match error.kind() {
                ErrorKind::ForeignKey => Error::not_found("bot_channel", format_args!("`{channel}`")),
                _ => error,
            });
            Ok(new? > 0)
        })
        .await
    }

    async fn unsubscribe(&self, bot: BotId, channel: &ChannelName) -> Result<bool> {
        self.run("unsubscribe", |db| async move {
            let delete = bot_subscriptions::Entity::delete_many()
                .filter(bot_subscriptions::Column::BotId.eq(bot))
                .filter(bot_subscriptions::Column::ChannelName.eq(channel.as_str()));
            Ok(db.write(delete).await? > 0)
        })
        .await
    }

    async fn subscriptions(&self, bot: BotId, page: PageRequest) -> Result<Page<Subscription>> {
        self.run("subscriptions", |db| async move {
            let select = bot_subscriptions::Entity::find().filter(bot_subscriptions::Column::BotId.eq(bot));
            let listing = Listing {
                name: "bot_subscriptions",
                keys: [bot_subscriptions::Column::ChannelName],
                direction: Direction::Ascending,
            };
            let found = listing.page(&db, select, &page, |row: &bot_subscriptions::Model| {
                [row.channel_name.clone().into()]
            });
            found.await?.try_map(Subscription::try_from)
        })
        .await
    }

    async fn subscribers(&self, channel: &ChannelName, page: PageRequest) -> Result<Page<Subscription>> {
        self.run("subscribers", |db| async move {
            let select =
                bot_subscriptions::Entity::find().filter(bot_subscriptions::Column::ChannelName.eq(channel.as_str()));
            let listing = Listing {
                name: "bot_subscriptions",
                keys: [
                    bot_subscriptions::Column::SubscribedAt,
                    bot_subscriptions::Column::BotId,
                ],
                direction: Direction::Ascending,
            };
            let found = listing.page(&db, select, &page, |row: &bot_subscriptions::Model| {
                [row.subscribed_at.into(), row.bot_id.0.into()]
            });
            found.await?.try_map(Subscription::try_from)
        })
        .await
    }
}

async fn send_many(db: Operation, new: &[NewBotMessage]) -> Result<Vec<BotMessage>> {
    let now = db.now();
    let messages: Vec<BotMessage> = new.iter().map(|new| made(&db, new, now)).collect();
    db.insert_all::<Entity>(messages.iter().map(row)).await?;
    Ok(messages)
}

/// What one bot sent to another: one range of an index.
fn sent(from: BotId, to: BotId) -> Select<Entity> {
    Entity::find()
        .filter(Column::SenderBotId.eq(from))
        .filter(Column::RecipientBotId.eq(to))
}

fn place(row: &Model) -> [CursorKey; 2] {
    [row.timestamp.into(), row.id.0.into()]
}

/// A message as it will be stored.
fn made(db: &Operation, new: &NewBotMessage, timestamp: DateTime<Utc>) -> BotMessage {
    BotMessage {
        id: db.new_id(),
        sender_bot_id: new.sender_bot_id,
        sender_bot_name: new.sender_bot_name.clone(),
        recipient: new.recipient.clone(),
        message_type: new.message_type.clone(),
        body: new.body.clone(),
        reply_to: new.reply_to,
        timestamp,
    }
}

fn row(message: &BotMessage) -> Model {
    let (recipient_type, bot, channel) = match &message.recipient {
        Recipient::Direct(bot) => (RecipientType::Direct, Some(*bot), None),
        Recipient::Channel(channel) => (RecipientType::Channel, None, Some(channel.to_string())),
    };
    Model {
        id: message.id,
        sender_bot_id: message.sender_bot_id,
        sender_bot_name: message.sender_bot_name.clone(),
        recipient_type,
        recipient_bot_id: bot,
        recipient_channel: channel,
        message_type: message.message_type.clone(),
        body: message.body.clone(),
        reply_to: message.reply_to,
        timestamp: message.timestamp,
    }
}

impl TryFrom<Model> for BotMessage {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        let recipient = match (row.recipient_type, row.recipient_bot_id, row.recipient_channel) {
            (RecipientType::Direct, Some(bot), None) => Ok(Recipient::Direct(bot)),
            (RecipientType::Channel, None, Some(channel)) => ChannelName::new(channel).map(Recipient::Channel),
            _ => Err(Error::invalid(
                "recipient_type",
                "does not fit the recipient that is set",
            )),
        };
        Ok(Self {
            recipient: recipient.map_err(|rule| corrupt("bot_messages", row.id, rule))?,
            id: row.id,
            sender_bot_id: row.sender_bot_id,
            sender_bot_name: row.sender_bot_name,
            message_type: row.message_type,
            body: row.body,
            reply_to: row.reply_to,
            timestamp: row.timestamp,
        })
    }
}

impl TryFrom<bot_channels::Model> for BotChannel {
    type Error = Error;

    fn try_from(row: bot_channels::Model) -> Result<Self> {
        let name = ChannelName::new(row.name.clone());
        Ok(Self {
            name: name.map_err(|rule| corrupt("bot_channels", row.name, rule))?,
            created_at: row.created_at,
            created_by_bot_id: row.created_by_bot_id,
        })
    }
}

impl TryFrom<bot_subscriptions::Model> for Subscription {
    type Error = Error;

    fn try_from(row: bot_subscriptions::Model) -> Result<Self> {
        let name = ChannelName::new(row.channel_name);
        Ok(Self {
            channel_name: name.map_err(|rule| corrupt("bot_subscriptions", row.bot_id, rule))?,
            bot_id: row.bot_id,
            subscribed_at: row.subscribed_at,
        })
    }
}
