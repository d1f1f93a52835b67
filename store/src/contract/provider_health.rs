//! How the providers of models and tools do.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{CircuitState, Page, PageRequest, ProviderName, check};
use crate::Result;
use crate::clock::to_microseconds;

/// How a provider does, as last saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderHealth {
    /// Its unique name.
    pub name: ProviderName,
    /// Whether calls go to it.
    pub circuit_state: CircuitState,
    /// Its last error, if it had one.
    pub last_error: Option<String>,
    /// When a call last succeeded.
    pub last_success: Option<DateTime<Utc>>,
    /// How many calls went to it.
    pub total_calls: i64,
    /// How many of them failed.
    pub total_failures: i64,
    /// Since when it has been well without a break.
    pub uptime_since: Option<DateTime<Utc>>,
    /// When this was saved.
    pub updated_at: DateTime<Utc>,
}

/// How a provider does now. [`NewProviderHealth::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewProviderHealth {
    /// Its unique name.
    pub name: ProviderName,
    /// Whether calls go to it.
    pub circuit_state: CircuitState,
    /// Its last error, if it had one.
    pub last_error: Option<String>,
    /// When a call last succeeded.
    pub last_success: Option<DateTime<Utc>>,
    /// How many calls went to it: not negative.
    pub total_calls: i64,
    /// How many of them failed: not negative.
    pub total_failures: i64,
    /// Since when it has been well without a break.
    pub uptime_since: Option<DateTime<Utc>>,
}

impl NewProviderHealth {
    /// A provider that calls go to and none have gone to yet.
    pub fn new(name: ProviderName) -> Self {
        Self {
            name,
            circuit_state: CircuitState::Closed,
            last_error: None,
            last_success: None,
            total_calls: 0,
            total_failures: 0,
            uptime_since: None,
        }
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        self.last_error
            .iter()
            .try_for_each(|text| check::text("last_error", text))?;
        check::not_negative("total_calls", self.total_calls)?;
        check::not_negative("total_failures", self.total_failures)?;
        for (field, instant) in [("last_success", self.last_success), ("uptime_since", self.uptime_since)] {
            instant.iter().try_for_each(|instant| check::instant(field, *instant))?;
        }
        Ok(())
    }

    /// As it is stored when it is saved at this instant.
    pub fn saved_at(self, now: DateTime<Utc>) -> ProviderHealth {
        ProviderHealth {
            name: self.name,
            circuit_state: self.circuit_state,
            last_error: self.last_error,
            last_success: self.last_success.map(to_microseconds),
            total_calls: self.total_calls,
            total_failures: self.total_failures,
            uptime_since: self.uptime_since.map(to_microseconds),
            updated_at: now,
        }
    }
}

/// Keeps how providers do, across restarts.
pub trait ProviderHealthRepository: Send + Sync {
    /// Saves how a provider does, in place of what was saved before, and answers it as stored.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn save(&self, health: NewProviderHealth) -> impl Future<Output = Result<ProviderHealth>> + Send;

    /// How this provider does.
    fn load(&self, name: &ProviderName) -> impl Future<Output = Result<Option<ProviderHealth>>> + Send;

    /// How each provider does, by name, byte by byte in order.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn load_all(&self, page: PageRequest) -> impl Future<Output = Result<Page<ProviderHealth>>> + Send;
}
