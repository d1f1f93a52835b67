//! A proxy between a store and its Postgres that does to their connections what networks do: it cuts them, delays what
//! they carry, or loses it and tells nobody.
//!
//! It runs on threads of its own, so that it goes on while runtimes stand still. It understands as much of the protocol
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>) as it takes to say where something shall
//! happen: at the next statement whose text has these words in it, prepared or not.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::DatabaseConfig;
use store::testkit::TestDatabase;
use url::Url;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ends, and both sides hear so.
    Cut,
    /// From here on nothing comes through in either direction, and nobody is told: as behind a firewall that has
    /// forgotten it.
    Silence,
    /// It goes on after this long.
    Delay(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The server never sees the statement.
    Before,
    /// The server runs the statement, and its answer meets the fate. What was sent before it and has no answer yet may
    /// meet it too.
    After,
}

struct Rule {
    words: String,
    side: Side,
    fate: Fate,
    times: usize,
}

/// What happens to who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// It is let through.
    Open,
    /// Nothing listens: it is refused.
    Shut,
    /// It is accepted and never hears a word.
    Silent,
    /// The proxy has ended.
    Gone,
}

/// The proxy. Dropped, it cuts everything.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    url: Url,
}

struct Shared {
    server: (String, u16),
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    door: Door,
    listening: bool,
    rules: Vec<Rule>,
    links: Vec<Arc<Link>>,
    met: usize,
    opened: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// In front of this test's database.
    pub(crate) fn to(db: &TestDatabase) -> Self {
        let mut url = Url::parse(&db.url()).unwrap();
        // An address of IPv6 is in brackets there.
        let host = url.host_str().unwrap().trim_matches(['[', ']']).to_owned();
        let server = (host, url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(here.port())).unwrap();
        // It reads what it passes on, so nothing may be encrypted.
        url.set_query(Some("sslmode=disable"));
        let shared = Arc::new(Shared {
            server,
            changed: Condvar::new(),
            state: Mutex::new(State {
                door: Door::Open,
                listening: true,
                rules: vec![],
                links: vec![],
                met: 0,
                opened: 0,
            }),
        });
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.listen(here, listener)
        });
        Self { shared, url }
    }

    /// What to open a store with, so that it goes through here.
    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig::postgres(self.url.as_str()).unwrap()
    }

    /// So many of the next statements with these words in their text meet this fate before the server sees them.
    pub(crate) fn before(&self, words: &str, fate: Fate, times: usize) {
        self.rule(words, Side::Before, fate, times);
    }

    /// The same when the server has got the statement: it is the answer that does not come, or comes late.
    pub(crate) fn after(&self, words: &str, fate: Fate, times: usize) {
        self.rule(words, Side::After, fate, times);
    }

    fn rule(&self, words: &str, side: Side, fate: Fate, times: usize) {
        let words = words.to_owned();
        self.shared.state().rules.push(Rule {
            words,
            side,
            fate,
            times,
        });
    }

    /// How many statements have met their fate.
    pub(crate) fn met(&self) -> usize {
        self.shared.state().met
    }

    /// How many connections have been opened through it.
    pub(crate) fn opened(&self) -> usize {
        self.shared.state().opened
    }

    /// Cuts every connection that there is.
    pub(crate) fn cut(&self) {
        let links = std::mem::take(&mut self.shared.state().links);
        links.iter().for_each(|link| link.cut());
    }

    /// The server is gone: what there is is cut, and nothing listens.
    pub(crate) fn go_down(&self) {
        self.set_door(Door::Shut);
        self.cut();
    }

    /// Nothing comes through any more on any connection, and who connects hears nothing.
    pub(crate) fn fall_silent(&self) {
        self.set_door(Door::Silent);
        let links = self.shared.state().links.clone();
        links.iter().for_each(|link| link.silent.store(true, Ordering::SeqCst));
    }

    /// Who connects is let through again.
    pub(crate) fn come_back(&self) {
        self.set_door(Door::Open);
    }

    /// Returns when whoever connects from now on meets the door as it is.
    fn set_door(&self, door: Door) {
        let mut state = self.shared.state();
        state.door = door;
        let listening = matches!(door, Door::Open | Door::Silent);
        while state.listening != listening {
            state = self.shared.changed.wait(state).unwrap();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().door = Door::Gone;
        self.cut();
    }
}

impl Shared {
    fn listen(self: Arc<Self>, here: SocketAddr, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let door = self.state().door;
            match door {
                Door::Gone => return,
                Door::Shut => listener = None,
                Door::Open | Door::Silent if listener.is_none() => listener = TcpListener::bind(here).ok(),
                Door::Open | Door::Silent => {}
            }
            self.state().listening = listener.is_some();
            self.changed.notify_all();
            match listener.as_ref().map(accept) {
                Some(Some(client)) => self.connect(client, door),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream, door: Door) {
        let Ok(server) = TcpStream::connect((self.server.0.as_str(), self.server.1)) else {
            return;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).ok();
        }
        let link = Arc::new(Link {
            client,
            server,
            silent: AtomicBool::new(door == Door::Silent),
            answer: Mutex::default(),
        });
        {
            let mut state = self.state();
            if state.door == Door::Shut || state.door == Door::Gone {
                return link.cut();
            }
            state.opened += 1;
            state.links.push(Arc::clone(&link));
        }
        let (shared, one, other) = (Arc::clone(self), Arc::clone(&link), link);
        std::thread::spawn(move || one.carry_statements(&shared));
        std::thread::spawn(move || other.carry_answers());
    }

    /// What becomes of a statement with this text.
    fn fate_of(&self, text: &str) -> Option<(Side, Fate)> {
        let mut state = self.state();
        let rule = state
            .rules
            .iter_mut()
            .find(|rule| rule.times > 0 && text.contains(&rule.words))?;
        rule.times -= 1;
        let met = (rule.side, rule.fate);
        state.met += 1;
        Some(met)
    }
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).ok()?;
    let (client, _) = listener.accept().ok()?;
    client.set_nonblocking(false).ok()?;
    Some(client)
}

/// A connection through the proxy.
struct Link {
    client: TcpStream,
    server: TcpStream,
    silent: AtomicBool,
    /// What becomes of the next answer.
    answer: Mutex<Option<Fate>>,
}

impl Link {
    fn cut(&self) {
        self.client.shutdown(Shutdown::Both).ok();
        self.server.shutdown(Shutdown::Both).ok();
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    /// `false` when it carries nothing any more.
    fn meet(&self, fate: Fate) -> bool {
        match fate {
            Fate::Cut => self.cut(),
            Fate::Silence => self.silent.store(true, Ordering::SeqCst),
            Fate::Delay(time) => std::thread::sleep(time),
        }
        matches!(fate, Fate::Delay(_))
    }

    /// What one side sends, until it ends. A silent connection loses even that it has ended.
    fn read(&self, mut from: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match from.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(length) if length > 0 => return Some(length),
                _ if self.is_silent() => return None,
                _ => {
                    self.cut();
                    return None;
                }
            }
        }
    }

    fn send(&self, mut to: &TcpStream, bytes: &[u8]) {
        if !self.is_silent() && to.write_all(bytes).is_err() {
            self.cut();
        }
    }

    fn carry_answers(&self) {
        let mut buffer = vec![0; 1 << 16];
        while let Some(length) = self.read(&self.server, &mut buffer) {
            let fate = self.answer.lock().unwrap().take();
            if fate.is_none_or(|fate| self.meet(fate)) {
                self.send(&self.client, &buffer[..length]);
            }
        }
    }

    fn carry_statements(&self, shared: &Shared) {
        let mut client = Client::default();
        let mut buffer = vec![0; 1 << 16];
        while let Some(length) = self.read(&self.client, &mut buffer) {
            client.unread.extend_from_slice(&buffer[..length]);
            let mut passed = vec![];
            while let Some(message) = client.next() {
                let fate = message.statement.and_then(|text| shared.fate_of(&text));
                match fate {
                    Some((Side::Before, fate)) => {
                        self.send(&self.server, &std::mem::take(&mut passed));
                        self.meet(fate);
                    }
                    Some((Side::After, fate)) => *self.answer.lock().unwrap() = Some(fate),
                    None => {}
                }
                passed.extend_from_slice(&message.bytes);
            }
            self.send(&self.server, &passed);
        }
    }
}

/// What a client has sent so far.
#[derive(Default)]
struct Client {
    unread: Vec<u8>,
    begun: bool,
    /// The texts of prepared statements.
    prepared: HashMap<Vec<u8>, String>,
}

struct Message {
    bytes: Vec<u8>,
    /// The text of the statement that it runs.
    statement: Option<String>,
}

/// A request for encryption or for a cancellation comes in the place of a start: 1234 and a number.
const NO_START: u16 = 1_234;

impl Client {
    /// The next message, if the whole of it is there.
    fn next(&mut self) -> Option<Message> {
        // The first one has no type.
        let head = usize::from(self.begun);
        let length = self.unread.get(head..head + 4)?;
        let length = head + u32::from_be_bytes(length.try_into().ok()?) as usize;
        if self.unread.len() < length || length < head + 4 {
            return None;
        }
        let bytes = self.unread.drain(..length).collect::<Vec<_>>();
        let body = &bytes[head + 4..];
        let statement = if self.begun {
            self.read(bytes[0], body)
        } else {
            self.begun = body.get(..2) != Some(&NO_START.to_be_bytes());
            None
        };
        Some(Message { bytes, statement })
    }

    fn read(&mut self, kind: u8, body: &[u8]) -> Option<String> {
        let mut words = body.split(|byte| *byte == 0);
        match kind {
            b'Q' => Some(text(words.next()?)),
            b'P' => {
                let name = words.next()?.to_vec();
                self.prepared.insert(name, text(words.next()?));
                None
            }
            b'B' => {
                let _portal = words.next()?;
                self.prepared.get(words.next()?).cloned()
            }
            _ => None,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
