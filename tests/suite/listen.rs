//! Which SQL a call sends.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Hears what this thread sends while it lives. A test's own future runs on the test's thread, so it hears the test and
/// no other one.
pub(crate) struct Listener {
    heard: Heard,
    _guard: DefaultGuard,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let heard = Heard::default();
        let subscriber = tracing_subscriber::registry().with(heard.clone());
        Self {
            heard,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The texts of the statements since the last call, in the order in which they were sent.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

/// Keeps the statements' texts worth sending from the start. tracing asks each place in the code once whether anybody
/// listens to it, and while listeners come and go on several threads, one of them can miss what it would hear.
pub(crate) fn keep_talking() {
    let subscriber = tracing_subscriber::registry().with(Forgetful(Heard::default()));
    tracing::subscriber::set_global_default(subscriber).unwrap();
}

/// Is interested in what a listener hears, and keeps nothing of it.
struct Forgetful(Heard);

impl<S: Subscriber> Layer<S> for Forgetful {
    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.enabled(metadata, context)
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Heard {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "undercroft::sql"
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Text(&self.0));
    }
}

struct Text<'a>(&'a Mutex<Vec<String>>);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "sql" {
            self.0.lock().unwrap().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
