//! Postgres: from keys and URLs to a server.

use std::path::PathBuf;

use secrecy::SecretString;

use super::Assembler;
use crate::place::{self, DEFAULT_PORT, Place, ServerUrl};
use crate::settings::{Server, Ssl, Target};

/// What only the driver reads of a server.
struct Login {
    password: Option<SecretString>,
    application_name: String,
    ssl: Ssl,
}

impl Login {
    fn into_server(self, hosts: Vec<(String, u16)>, user: String, dbname: String) -> Server {
        let Self {
            password,
            application_name,
            ssl,
        } = self;
        #[cfg(not(any(feature = "postgres", test)))]
        drop((password, application_name, ssl));
        Server {
            hosts,
            user,
            dbname,
            #[cfg(any(feature = "postgres", test))]
            password,
            #[cfg(any(feature = "postgres", test))]
            application_name,
            #[cfg(any(feature = "postgres", test))]
            ssl,
        }
    }
}

impl Assembler<'_> {
    pub(super) fn server_target(&mut self, ssl: &Ssl, application_name: &str) -> Target {
        let password = self.password();
        let server = match self.read::<String>("url") {
            Some(text) => self.server_by_url(&text, password, ssl, application_name),
            None => self.server_by_host(password, ssl, application_name),
        };
        // Without a server there is a problem already, and nobody sees this target.
        server.map_or(Target::Memory, |server| Target::Server(Box::new(server)))
    }

    fn server_by_url(&mut self, text: &str, password: Option<SecretString>, ssl: &Ssl, name: &str) -> Option<Server> {
        let url = match place::parse(text) {
            Ok(Place::Server(url)) => *url,
            // Contradicts the driver, which is reported already.
            Ok(_) => return None,
            Err(error) => {
                self.problem("url", error);
                return None;
            }
        };
        let label = self.merged.label("url");
        self.note("url", place::redact(text), label);
        if url.password.is_some() {
            for key in ["password", "password_file"] {
                if self.merged.get(key).is_some() {
                    self.contradiction(key, "url", "contradict each other: the URL has a password too");
                }
            }
        }
        self.url_against_keys(&url);
        self.server("url", url, password, ssl, name)
    }

    /// A parameter in the URL and a key that somebody set may not differ.
    fn url_against_keys(&mut self, url: &ServerUrl) {
        let pairs = [
            ("postgres.sslmode", url.sslmode.is_some()),
            ("postgres.ssl_root_cert", url.ssl_root_cert.is_some()),
            ("postgres.ssl_client_cert", url.ssl_client_cert.is_some()),
            ("postgres.ssl_client_key", url.ssl_client_key.is_some()),
            ("postgres.application_name", url.application_name.is_some()),
        ];
        for (key, in_url) in pairs {
            if in_url && self.merged.is_chosen(key) {
                self.contradiction(key, "url", "both set it; remove it from the URL or remove the key");
            }
        }
    }

    fn server(
        &mut self,
        key: &str,
        url: ServerUrl,
        password: Option<SecretString>,
        ssl: &Ssl,
        application_name: &str,
    ) -> Option<Server> {
        if url.hosts.is_none() {
            self.problem(key, "the URL has no host");
        }
        if url.user.is_none() {
            self.problem(
                key,
                "the URL has no user: expected postgres://user@host/dbname; there is no default user",
            );
        }
        let ssl = Ssl {
            mode: url.sslmode.unwrap_or(ssl.mode),
            root_cert: self.url_file(key, url.ssl_root_cert).or_else(|| ssl.root_cert.clone()),
            client_cert: self
                .url_file(key, url.ssl_client_cert)
                .or_else(|| ssl.client_cert.clone()),
            client_key: self
                .url_file(key, url.ssl_client_key)
                .or_else(|| ssl.client_key.clone()),
        };
        if ssl.client_cert.is_some() != ssl.client_key.is_some() && key != "postgres.replicas" {
            self.problem(key, "a client certificate and its key are needed together");
        }
        let user = url.user?;
        let dbname = url.dbname.unwrap_or_else(|| user.clone());
        let login = Login {
            password: url.password.or(password),
            application_name: url.application_name.unwrap_or_else(|| application_name.to_owned()),
            ssl,
        };
        let hosts = url.hosts?;
        let ports = match url.ports.unwrap_or_else(|| vec![DEFAULT_PORT]) {
            one if one.len() == 1 => one.repeat(hosts.len()),
            each if each.len() == hosts.len() => each,
            other => {
                let message = format!("the URL gives {} hosts and {} ports", hosts.len(), other.len());
                self.problem(key, message);
                return None;
            }
        };
        Some(login.into_server(hosts.into_iter().zip(ports).collect(), user, dbname))
    }

    fn url_file(&mut self, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
        let path = path?;
        let path = self.absolute(key, &path.to_string_lossy());
        if let Err(error) = std::fs::metadata(&path) {
            self.problem(key, format!("cannot read {}: {error}", path.display()));
        }
        Some(path)
    }

    fn server_by_host(&mut self, password: Option<SecretString>, ssl: &Ssl, name: &str) -> Option<Server> {
        let host = self.plain("host");
        let user = self.plain("user");
        let dbname = self.plain("dbname");
        let port = if self.merged.get("port").is_some() {
            u16::try_from(self.within("port", 1, u32::from(u16::MAX))).unwrap_or(DEFAULT_PORT)
        } else {
            if host.is_some() {
                self.note("port", DEFAULT_PORT.to_string(), "default".to_owned());
            }
            DEFAULT_PORT
        };
        let (host, user) = (host?, user?);
        let dbname = dbname.unwrap_or_else(|| {
            self.note("dbname", user.clone(), "follows from `user`".to_owned());
            user.clone()
        });
        let login = Login {
            password,
            application_name: name.to_owned(),
            ssl: ssl.clone(),
        };
        let hosts = match place::hosts(&host) {
            Ok(hosts) => hosts,
            Err(error) => {
                self.problem("host", error);
                return None;
            }
        };
        let hosts = hosts.into_iter().map(|host| (host, port)).collect();
        Some(login.into_server(hosts, user, dbname))
    }

    /// A text that goes to the server, where NUL would end it early.
    fn plain(&mut self, key: &str) -> Option<String> {
        let text: String = self.optional(key)?;
        if text.contains('\0') {
            self.problem(key, "contains a NUL character");
        }
        if key == "host" && (text.contains("://") || text.contains('@')) {
            self.problem(key, "is not a host name; a URL belongs into `url`");
        }
        Some(text)
    }

    fn password(&mut self) -> Option<SecretString> {
        if self.merged.get("password").is_some() && self.merged.get("password_file").is_some() {
            self.contradiction("password", "password_file", "both give the password; remove one");
        }
        let given = self.read::<String>("password").map(|text| ("password", text));
        let (key, text) = given.or_else(|| self.password_file().map(|text| ("password_file", text)))?;
        if key == "password" {
            let label = self.merged.label(key);
            self.note(key, "***".to_owned(), label);
        }
        if text.contains('\0') {
            self.problem(key, "the password contains a NUL character");
        }
        Some(SecretString::from(text))
    }

    fn password_file(&mut self) -> Option<String> {
        let key = "password_file";
        let path = self.existing_file(key)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let line = line.strip_suffix('\r').unwrap_or(line);
                if line.is_empty() {
                    self.problem(key, format!("{} is empty", path.display()));
                }
                Some(line.to_owned())
            }
            Err(error) => {
                self.problem(key, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    pub(super) fn replicas(&mut self, ssl: &Ssl, application_name: &str) -> Vec<Server> {
        let key = "postgres.replicas";
        let Some(urls) = self.read::<Vec<String>>(key) else {
            return vec![];
        };
        let mut servers = vec![];
        for (index, text) in urls.iter().enumerate() {
            match place::parse(text) {
                Ok(Place::Server(url)) => servers.extend(self.server(key, *url, None, ssl, application_name)),
                Ok(_) => self.problem(key, format!("replica {}: a replica is a Postgres server", index + 1)),
                Err(error) => self.problem(key, format!("replica {}: {error}", index + 1)),
            }
        }
        if servers.len() == urls.len() && !urls.is_empty() {
            let shown: Vec<_> = urls.iter().map(|url| place::redact(url)).collect();
            let label = self.merged.label(key);
            self.note(key, shown.join(" "), label);
        }
        servers
    }
}
