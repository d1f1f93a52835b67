//! What bots remember by key: JSON values, kept until they are deleted or expire.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BotId, Key, Page, PageRequest, Prune, check};
use crate::{Error, ErrorKind, Result};

/// A value with its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// Whose value.
    pub bot_id: BotId,
    /// Its key.
    pub key: Key,
    /// The value; `null` is one too.
    pub value: Value,
    /// From this instant on it is not there any more; `None` stays.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was first set.
    pub created_at: DateTime<Utc>,
    /// When the value was last set.
    pub updated_at: DateTime<Utc>,
}

impl KvEntry {
    /// Whether it is still there at this instant.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// When a value expires that is set now and lives so long.
    ///
    /// # Errors
    /// `InvalidInput` when that is less than a microsecond, or ends after the year 9999.
    pub fn expiry(now: DateTime<Utc>, ttl: Option<Duration>) -> Result<Option<DateTime<Utc>>> {
        let Some(ttl) = ttl else { return Ok(None) };
        let end = chrono::Duration::from_std(ttl)
            .ok()
            .and_then(|ttl| now.checked_add_signed(ttl))
            .ok_or_else(|| Error::invalid("ttl", "ends after the year 9999; leave it out for a value that stays"))?
            .trunc_subsecs(6);
        check::instant("ttl", end)?;
        if end <= now {
            return Err(Error::invalid("ttl", "must be a microsecond or more"));
        }
        Ok(Some(end))
    }

    /// The whole number that the value and `by` make.
    ///
    /// # Errors
    /// `InvalidTransition` when the value is not a whole number of 64 bits with a sign, or the sum is not.
    pub fn incremented(value: &Value, by: i64) -> Result<i64> {
        let refused = |why: &str| Error::new(ErrorKind::InvalidTransition, why);
        let number = value
            .as_i64()
            .ok_or_else(|| refused("the value is not a whole number of 64 bits, so nothing can be added to it"))?;
        number
            .checked_add(by)
            .ok_or_else(|| refused("the sum is beyond 64 bits; the value stays as it was"))
    }
}

/// Keeps values by bot and key.
///
/// Values are JSON and compared as such: an object's keys have no order, 1 and 1.0 are two values. An entry that has
/// expired is not there, for every method, whether or not it has been [purged](Self::purge_expired) yet.
pub trait KvStore: Send + Sync {
    /// The value of this key. `Some(Value::Null)` is a stored `null`; `None` is nothing stored.
    fn get(&self, bot: BotId, key: &Key) -> impl Future<Output = Result<Option<Value>>> + Send;

    /// The value of this key with its times.
    fn get_entry(&self, bot: BotId, key: &Key) -> impl Future<Output = Result<Option<KvEntry>>> + Send;

    /// Sets the value, in place of the one that is there: `created_at` stays, the time to live does not. Without one,
    /// the value stays until it is deleted.
    ///
    /// # Errors
    /// `ForeignKey` (`fk_bot_kv_store_bot_id`) for an unknown bot; `InvalidInput` for U+0000 in the value, for more than
    /// 127 levels, and for a time to live that [`KvEntry::expiry`] refuses.
    fn set(
        &self,
        bot: BotId,
        key: &Key,
        value: Value,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Forgets the value, and answers whether there was one.
    fn delete(&self, bot: BotId, key: &Key) -> impl Future<Output = Result<bool>> + Send;

    /// The bot's keys that begin with `prefix` (all with an empty one), byte by byte in order.
    ///
    /// # Errors
    /// `InvalidInput` for U+0000 in the prefix, a limit out of range or a cursor of another list.
    fn list_keys(&self, bot: BotId, prefix: &str, page: PageRequest) -> impl Future<Output = Result<Page<Key>>> + Send;

    /// Adds to the whole number under this key and answers the sum; a key that is not there starts at `by`. Any number
    /// may do so at once, and each of them counts. A time to live stays as it was.
    ///
    /// # Errors
    /// `InvalidTransition` when the value is not a whole number, or the sum is beyond 64 bits; `ForeignKey`
    /// (`fk_bot_kv_store_bot_id`) for an unknown bot.
    fn increment(&self, bot: BotId, key: &Key, by: i64) -> impl Future<Output = Result<i64>> + Send;

    /// [Sets](Self::set) the value if the one that is there equals `expected`, `None` being nothing there: of any number
    /// that expect the same at once, exactly one succeeds.
    ///
    /// # Errors
    /// `Conflict` when something else is there, and it stays; those of [`set`](Self::set).
    fn compare_and_set(
        &self,
        bot: BotId,
        key: &Key,
        expected: Option<&Value>,
        new: Value,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes the entries of all bots that expired before an instant, and answers how many. What has not expired yet
    /// stays, whatever the instant.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn purge_expired(&self, expired: Prune) -> impl Future<Output = Result<u64>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_ends_within_the_years_that_are_kept() {
        let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(KvEntry::expiry(now, None).unwrap(), None);
        let end = KvEntry::expiry(now, Some(Duration::from_nanos(1_500_001_999))).unwrap();
        assert_eq!(end.unwrap().to_rfc3339(), "2026-01-01T00:00:01.500001+00:00");
        for ttl in [
            Duration::ZERO,
            Duration::from_nanos(999),
            Duration::MAX,
            Duration::from_secs(8000 * 366 * 86_400),
        ] {
            let error = KvEntry::expiry(now, Some(ttl)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{ttl:?}");
        }
    }
}
