//! The rules for arguments that every implementation of the contract applies, before it asks its database.

use chrono::{DateTime, Datelike, Utc};

use crate::{Error, Result};

/// Text may hold anything but U+0000.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn text(field: &str, text: &str) -> Result<()> {
    match text.find('\0') {
        Some(at) => Err(Error::invalid(
            field,
            format_args!("holds U+0000 at byte {at}; remove it"),
        )),
        None => Ok(()),
    }
}

/// [`text`] for each of them.
///
/// # Errors
/// `InvalidInput` naming `field` and the place in the list.
pub fn texts(field: &str, texts: &[String]) -> Result<()> {
    texts
        .iter()
        .enumerate()
        .try_for_each(|(at, item)| text(&format!("{field}[{at}]"), item))
}

/// A name a person reads: text, and not blank.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn name(field: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(field, "is blank; give it a name"));
    }
    text(field, name)
}

/// An instant between the years 0 and 9999, which both databases can keep and order.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn instant(field: &str, instant: DateTime<Utc>) -> Result<()> {
    match instant.year() {
        0..=9999 => Ok(()),
        year => Err(Error::invalid(
            field,
            format_args!("is in the year {year}; the store keeps 0 to 9999"),
        )),
    }
}
