//! Pages of long lists: keyset pagination, the same cursor on either database.
//!
//! A page continues after the last row that was seen, by that row's sort keys, so rows that come or go in between
//! neither repeat nor hide others, and a page costs the same at any depth
//! (<https://use-the-index-luke.com/no-offset>).

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Error, Result};

/// Which way a list runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smallest, oldest, A first.
    Ascending,
    /// Largest, newest, Z first.
    #[default]
    Descending,
}

/// Which page of a list: how many rows at most, and after which row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// At most so many items: 1 to [`PageRequest::MAX`].
    pub limit: u32,
    /// Continue here; `None` starts at the beginning.
    #[serde(default)]
    pub after: Option<Cursor>,
}

impl PageRequest {
    /// The largest page: 1,000 items.
    pub const MAX: u32 = 1_000;

    /// The first page, with at most `limit` items.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// The page after `cursor`, with at most `limit` items.
    pub fn after(cursor: Cursor, limit: u32) -> Self {
        Self {
            limit,
            after: Some(cursor),
        }
    }

    /// # Errors
    /// `InvalidInput` when the limit is 0 or above [`PageRequest::MAX`].
    pub fn check(&self) -> Result<()> {
        match self.limit {
            1..=Self::MAX => Ok(()),
            limit => Err(Error::invalid(
                "limit",
                format_args!("must be 1 to {} and is {limit}", Self::MAX),
            )),
        }
    }
}

impl Default for PageRequest {
    /// The first 50.
    fn default() -> Self {
        Self::first(50)
    }
}

/// A part of a long list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The same page with each item changed.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }

    /// The same page with each item changed, or the first error.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn try_map<U>(self, change: impl FnMut(T) -> Result<U>) -> Result<Page<U>> {
        Ok(Page {
            items: self.items.into_iter().map(change).collect::<Result<_>>()?,
            next: self.next,
        })
    }
}

/// A list from beginning to end, item by item: asks for a page when the one before is used up.
///
/// `list` is any method of the contract that answers pages, with its other arguments filled in. It is called with the
/// largest page there is, [`PageRequest::MAX`]; where items are large, [`walk_by`] takes smaller ones.
///
/// Between two pages a walk holds a page of items and a cursor, and nothing of the database: no connection, no lock and no
/// snapshot. Take any time over an item, write to the same rows, walk other lists at the same time. What comes of that is
/// what pages promise: each row that is there all the while and keeps its place comes once, in the list's order; of rows
/// that are added or removed meanwhile, those behind the walk change nothing, and those before it are seen as they are when
/// their page is asked for. For a list as it is at one instant, walk in a [transaction](crate::Store::transaction).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> store::Result<()> {
/// # if !cfg!(feature = "sqlite") { return Ok(()) }
/// use store::prelude::*;
///
/// let store = Store::open(DatabaseConfig::sqlite(":memory:")?).await?;
/// for n in 1..=3 {
///     store.bots().create(NewBot::new(format!("owl-{n}").parse()?, "Owl")).await?;
/// }
/// let bots = store.bots();
/// let mut owls = walk(|page| bots.list(BotFilter::default(), page));
/// let mut slugs = vec![];
/// while let Some(owl) = owls.try_next().await? {
///     slugs.push(owl.slug.to_string());
/// }
/// assert_eq!(slugs, ["owl-3", "owl-2", "owl-1"]);
/// # Ok(())
/// # }
/// ```
///
/// A walk is also a [`Stream`], for all that `futures_util::TryStreamExt` and its like do with one. As such it keeps the page
/// that is on its way, with the connection that brings it, until it is polled again or dropped. A walk that outlives the
/// function it is made in owns what it asks:
///
/// ```
/// use store::futures_util::{Stream, TryStreamExt};
/// use store::prelude::*;
///
/// fn slugs(store: Store) -> impl Stream<Item = store::Result<Slug>> + Send + 'static {
///     let bots = walk(move |page| {
///         let bots = store.bots();
///         async move { bots.list(BotFilter::default(), page).await }
///     });
///     bots.map_ok(|bot| bot.slug)
/// }
/// ```
///
/// # Errors
/// The first error of `list` is the last item.
pub fn walk<T, F, Fut>(list: F) -> Walk<T, F, Fut>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    walk_by(PageRequest::MAX, list)
}

/// [`walk`] with at most `limit` items a page.
///
/// # Errors
/// `InvalidInput` as the only item when the limit is 0 or above [`PageRequest::MAX`]; those of [`walk`].
pub fn walk_by<T, F, Fut>(limit: u32, list: F) -> Walk<T, F, Fut>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    Walk {
        list,
        limit,
        items: Vec::new().into_iter(),
        asked: None,
        next: Some(PageRequest::first(limit)),
    }
}

/// A list from beginning to end: what [`walk`] answers. It does nothing until it is asked for an item.
#[must_use = "a walk asks for nothing until an item is wanted"]
pub struct Walk<T, F, Fut> {
    list: F,
    limit: u32,
    /// What is left of the page.
    items: std::vec::IntoIter<T>,
    /// The page that is on its way, by what was asked.
    asked: Option<(PageRequest, Pin<Box<Fut>>)>,
    /// The page to ask for after this one.
    next: Option<PageRequest>,
}

impl<T, F, Fut> Walk<T, F, Fut>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    /// The next item; `None` after the last one, and after an error. Dropping the future loses nothing, and holds nothing:
    /// a page that was on its way is asked for again by the next call.
    ///
    /// # Errors
    /// Those of the list.
    pub async fn try_next(&mut self) -> Result<Option<T>> {
        let waiting = Waiting(self);
        poll_fn(|context| waiting.0.poll(context)).await.transpose()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(item) = self.items.next() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(page) = ready!(self.poll_page(context)) else {
                return Poll::Ready(None);
            };
            match page {
                Ok(page) => {
                    self.items = page.items.into_iter();
                    self.next = page.next.map(|cursor| PageRequest::after(cursor, self.limit));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The next page, which is asked for when it is not on its way yet; `None` after the last.
    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Page<T>>>> {
        if self.asked.is_none() {
            let next = self.next.take();
            self.asked = next.map(|request| (request.clone(), Box::pin((self.list)(request))));
        }
        let Some((_, asked)) = &mut self.asked else {
            return Poll::Ready(None);
        };
        let page = ready!(asked.as_mut().poll(context));
        self.asked = None;
        Poll::Ready(Some(page))
    }
}

/// Somebody waits for an item. When they give up, so does the page that is on its way: it would keep its connection, and
/// nobody would see to it.
struct Waiting<'a, T, F, Fut>(&'a mut Walk<T, F, Fut>);

impl<T, F, Fut> Drop for Waiting<'_, T, F, Fut> {
    fn drop(&mut self) {
        if let Some((request, _)) = self.0.asked.take() {
            self.0.next = Some(request);
        }
    }
}

/// It may be moved between two items: the page that is on its way is in a box of its own.
impl<T, F, Fut> Unpin for Walk<T, F, Fut> {}

impl<T, F, Fut> Stream for Walk<T, F, Fut>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.get_mut().poll(context)
    }
}

impl<T, F, Fut> fmt::Debug for Walk<T, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("limit", &self.limit)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// A place in a list: opaque text, valid for that list in that order on either database.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    list: String,
    keys: Vec<CursorKey>,
}

/// One sort key of the row that a cursor stands after.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CursorKey {
    /// Text.
    #[serde(rename = "t")]
    Text(String),
    /// A whole number.
    #[serde(rename = "n")]
    Number(i64),
    /// An instant, as microseconds since 1970.
    #[serde(rename = "u", with = "chrono::serde::ts_microseconds")]
    Instant(DateTime<Utc>),
    /// An id.
    #[serde(rename = "i")]
    Id(Uuid),
}

impl From<String> for CursorKey {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for CursorKey {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<DateTime<Utc>> for CursorKey {
    fn from(instant: DateTime<Utc>) -> Self {
        Self::Instant(instant)
    }
}

impl From<Uuid> for CursorKey {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl Cursor {
    /// A place in the list of this name (which tells its order too), after the row with these sort keys.
    pub fn new(list: impl Into<String>, keys: Vec<CursorKey>) -> Self {
        Self {
            list: list.into(),
            keys,
        }
    }

    /// The sort keys, if the cursor belongs to the list of this name.
    ///
    /// # Errors
    /// `InvalidInput` when it was made for another list or another order.
    pub fn keys_for(&self, list: &str) -> Result<&[CursorKey]> {
        if self.list == list {
            return Ok(&self.keys);
        }
        Err(Error::invalid(
            "cursor",
            format_args!("belongs to the list {} and not to {list}", self.list),
        ))
    }

    fn invalid() -> Error {
        Error::invalid(
            "cursor",
            "is not one that this store made; start again from the first page",
        )
    }
}

/// Enough of a checksum to notice an altered or cut cursor. It is no protection against a forger: a cursor opens
/// nothing that the list itself would not show.
fn checksum(payload: &[u8]) -> [u8; 6] {
    let digest = Sha256::digest(payload);
    [digest[0], digest[1], digest[2], digest[3], digest[4], digest[5]]
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = serde_json::to_vec(&(&self.list, &self.keys)).map_err(|_| fmt::Error)?;
        let mut bytes = checksum(&payload).to_vec();
        bytes.extend(payload);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Self::invalid())?;
        let (sum, payload) = bytes.split_at_checked(6).ok_or_else(Self::invalid)?;
        if sum != checksum(payload) {
            return Err(Self::invalid());
        }
        let (list, keys) = serde_json::from_slice(payload).map_err(|_| Self::invalid())?;
        Ok(Self { list, keys })
    }
}

impl TryFrom<String> for Cursor {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let instant = DateTime::from_timestamp_micros(1_790_000_000_123_456).unwrap();
        let keys = vec![
            CursorKey::Instant(instant),
            CursorKey::Text("ä".into()),
            CursorKey::Number(-3),
        ];
        Cursor::new("bots by created_at", keys)
    }

    #[test]
    fn a_cursor_survives_its_text() {
        assert_eq!(cursor().to_string().parse::<Cursor>().unwrap(), cursor());
        let json = serde_json::to_string(&cursor()).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor());
    }

    #[test]
    fn every_altered_character_is_noticed() {
        let text = cursor().to_string();
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            // The last character has bits that carry nothing; a strict decoder refuses them.
            assert!(altered.parse::<Cursor>().is_err(), "{altered}");
            assert!(text[..at].parse::<Cursor>().is_err());
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        assert!(cursor().keys_for("bots by name").is_err());
        assert_eq!(cursor().keys_for("bots by created_at").unwrap().len(), 3);
    }
}
