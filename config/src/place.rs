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
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
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

fn parse_postgres(text: &str) -> Result<ServerUrl, String> {
    let url = Url::parse(text).map_err(|error| format!("malformed URL, {error}; {SPECIAL}"))?;
    if url.fragment().is_some() {
        return Err(format!("the URL contains a bare `#`; {SPECIAL}"));
    }
    if url.cannot_be_a_base() {
        return Err("malformed URL: expected postgres://…".to_owned());
    }
    let mut parts = ServerUrl {
        port: url.port(),
        ..ServerUrl::default()
    };
    parts.host = decoded(url.host_str().unwrap_or_default(), "host")?.map(unbracket);
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

fn parameter(parts: &mut ServerUrl, name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("URL parameter `{name}` is empty"));
    }
    let text = Some(value.to_owned());
    let path = Some(PathBuf::from(value));
    let repeated = match name {
        "host" => set(&mut parts.host, text),
        "port" => {
            let port = value
                .parse()
                .map_err(|_| "URL parameter `port` is not a port number".to_owned())?;
            set(&mut parts.port, Some(port))
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
    let Ok(mut url) = Url::parse(text.trim()) else {
        return "***".to_owned();
    };
    if url.scheme() == "sqlite" {
        return text.trim().to_owned();
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
