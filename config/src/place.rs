//! Database URLs, taken apart without ever repeating one in an error.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use crate::values::FromValue;
use crate::{Driver, SslMode};

/// What a URL says.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Memory,
    File(String),
    Server(Box<ServerUrl>),
}

/// The parts of a Postgres URL; what it leaves out stays `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerUrl {
    /// Tried in this order.
    pub(crate) hosts: Option<Vec<String>>,
    /// One for all of them, or one for each.
    pub(crate) ports: Option<Vec<u16>>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretString>,
    pub(crate) dbname: Option<String>,
    pub(crate) sslmode: Option<SslMode>,
    pub(crate) ssl_root_cert: Option<PathBuf>,
    pub(crate) ssl_client_cert: Option<PathBuf>,
    pub(crate) ssl_client_key: Option<PathBuf>,
    pub(crate) application_name: Option<String>,
}

/// Parses a URL for either database. The error never repeats the URL.
pub(crate) fn parse(text: &str) -> Result<Place, String> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err("is not a URL: expected postgres://… or sqlite:…".to_owned());
    };
    match scheme {
        "sqlite" => parse_sqlite(rest),
        "postgres" | "postgresql" => parse_postgres(text).map(|url| Place::Server(Box::new(url))),
        _ => Err(unknown_scheme(scheme, rest)),
    }
}

fn unknown_scheme(scheme: &str, rest: &str) -> String {
    // Without the slashes it may be no scheme at all but the beginning of a secret.
    let is_scheme = rest.starts_with("//") && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    if !is_scheme {
        return "is not a URL: expected postgres://… or sqlite:…".to_owned();
    }
    let near = ["postgres", "postgresql", "sqlite"]
        .into_iter()
        .find(|known| strsim::damerau_levenshtein(known, scheme) < 3);
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("unsupported database driver: {scheme}{hint}")
}

/// The driver that a URL chooses, also when the rest of it is wrong.
pub(crate) fn driver_of(url: &str) -> Option<Driver> {
    match url.trim().split_once(':')?.0 {
        "sqlite" => Some(Driver::Sqlite),
        "postgres" | "postgresql" => Some(Driver::Postgres),
        _ => None,
    }
}

fn parse_sqlite(rest: &str) -> Result<Place, String> {
    let (path, query) = rest.split_once('?').map_or((rest, ""), |(path, query)| (path, query));
    let path = path.strip_prefix("//").unwrap_or(path);
    let mut memory = path == ":memory:";
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            // What the store does anyway.
            ("mode", "rwc" | "rw") => {}
            ("mode", "memory") => memory = true,
            ("mode", "ro") => {
                return Err("mode=ro: the store needs to write; leave it out".to_owned());
            }
            ("mode", _) => return Err("unknown `mode` in the URL; leave it out".to_owned()),
            (other, _) => {
                return Err(format!(
                    "unknown URL parameter `{other}`: a sqlite URL takes only `mode`"
                ));
            }
        }
    }
    if memory {
        return Ok(Place::Memory);
    }
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| "the path in the URL is not UTF-8".to_owned())?;
    if path.is_empty() {
        return Err("the URL names no file: expected sqlite:file.db or sqlite::memory:".to_owned());
    }
    Ok(Place::File(path.into_owned()))
}

const SPECIAL: &str = "percent-encode special characters in the user name and password (`/` is %2F, `#` is %23, `@` is \
                       %40, `%` is %25), or give `host`, `user` and `password` instead";

pub(crate) const DEFAULT_PORT: u16 = 5432;

/// Where a URL's hosts and ports stand, if there are several of them: `Url` knows only one.
fn several_hosts(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let start = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    text[start..end].contains(',').then_some(start..end)
}

/// A host and the port after it.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let host = decoded(host, "host")?.ok_or("the URL has an empty host among several")?;
    let port = match port {
        "" => None,
        port => Some(
            port.parse()
                .map_err(|_| format!("malformed URL, invalid port number; {SPECIAL}"))?,
        ),
    };
    Ok((unbracket(host), port))
}

fn parse_postgres(text: &str) -> Result<ServerUrl, String> {
    let Some(place) = several_hosts(text) else {
        return parse_one_host(text);
    };
    let hosts = text[place.clone()]
        .split(',')
        .map(host_and_port)
        .collect::<Result<Vec<_>, _>>()?;
    // The rest of the URL with any host.
    let mut parts = parse_one_host(&format!("{}host{}", &text[..place.start], &text[place.end..]))?;
    if hosts.iter().any(|(_, port)| port.is_some()) {
        let ports = hosts.iter().map(|(_, port)| port.unwrap_or(DEFAULT_PORT)).collect();
        if set(&mut parts.ports, Some(ports)) {
            return Err("the URL gives `port` twice".to_owned());
        }
    }
    parts.hosts = Some(hosts.into_iter().map(|(host, _)| host).collect());
    Ok(parts)
}

fn parse_one_host(text: &str) -> Result<ServerUrl, String> {
    let url = Url::parse(text).map_err(|error| format!("malformed URL, {error}; {SPECIAL}"))?;
    if url.fragment().is_some() {
        return Err(format!("the URL contains a bare `#`; {SPECIAL}"));
    }
    if url.cannot_be_a_base() {
        return Err("malformed URL: expected postgres://…".to_owned());
    }
    let mut parts = ServerUrl {
        ports: url.port().map(|port| vec![port]),
        ..ServerUrl::default()
    };
    let host = decoded(url.host_str().unwrap_or_default(), "host")?;
    parts.hosts = host.map(|host| vec![unbracket(host)]);
    parts.user = decoded(url.username(), "user")?;
    parts.password = decoded(url.password().unwrap_or_default(), "password")?.map(SecretString::from);
    parts.dbname = decoded(url.path().trim_start_matches('/'), "database name")?;
    for (name, value) in url.query_pairs() {
        parameter(&mut parts, &name, &value)?;
    }
    Ok(parts)
}

/// An IPv6 address stands in brackets in a URL and without them everywhere else.
fn unbracket(host: String) -> String {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .map(str::to_owned)
        .unwrap_or(host)
}

fn decoded(text: &str, what: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| format!("the {what} in the URL is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("the {what} in the URL contains a NUL character"));
    }
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// Names that are separated by commas.
pub(crate) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let hosts: Vec<_> = text.split(',').map(|host| host.trim().to_owned()).collect();
    if hosts.len() > 1 && hosts.iter().any(String::is_empty) {
        return Err("has an empty host among several".to_owned());
    }
    Ok(hosts)
}

fn parameter(parts: &mut ServerUrl, name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("URL parameter `{name}` is empty"));
    }
    let text = Some(value.to_owned());
    let path = Some(PathBuf::from(value));
    let repeated = match name {
        "host" => {
            let hosts = hosts(value).map_err(|error| format!("URL parameter `host` {error}"))?;
            set(&mut parts.hosts, Some(hosts))
        }
        "port" => {
            let ports = value
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| "URL parameter `port` is not a port number".to_owned())?;
            set(&mut parts.ports, Some(ports))
        }
        "user" => set(&mut parts.user, text),
        "password" => set(&mut parts.password, Some(SecretString::from(value))),
        "dbname" => set(&mut parts.dbname, text),
        "sslmode" => {
            let mode = SslMode::from_value(&value.into(), true).map_err(|e| format!("URL parameter `sslmode`: {e}"))?;
            set(&mut parts.sslmode, Some(mode))
        }
        "sslrootcert" => set(&mut parts.ssl_root_cert, path),
        "sslcert" => set(&mut parts.ssl_client_cert, path),
        "sslkey" => set(&mut parts.ssl_client_key, path),
        "application_name" => set(&mut parts.application_name, text),
        _ => {
            return Err(format!(
                "unknown URL parameter `{name}`; known are sslmode, sslrootcert, sslcert, sslkey, application_name, \
                 host, port, user, password and dbname"
            ));
        }
    };
    if repeated {
        Err(format!("the URL gives `{name}` twice"))
    } else {
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let repeated = slot.is_some();
    *slot = value;
    repeated
}

/// The URL without its password, for `explain`; only for one that [`parse`] accepted.
pub(crate) fn redact(text: &str) -> String {
    let text = text.trim();
    let Some(place) = several_hosts(text).filter(|_| !text.starts_with("sqlite")) else {
        return redact_one_host(text);
    };
    let redacted = redact_one_host(&format!("{}host,{}", &text[..place.start], &text[place.end..]));
    match several_hosts(&redacted) {
        Some(stand_in) => format!(
            "{}{}{}",
            &redacted[..stand_in.start],
            &text[place],
            &redacted[stand_in.end..]
        ),
        None => "***".to_owned(),
    }
}

fn redact_one_host(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return "***".to_owned();
    };
    if url.scheme() == "sqlite" {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if url.query().is_some() {
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let mut query = url.query_pairs_mut();
        query.clear();
        for (name, value) in &pairs {
            query.append_pair(name, if name == "password" { "***" } else { value });
        }
        drop(query);
    }
    url.to_string()
}
