//! Passwords: they arrive whole, and they show nowhere.

use secrecy::ExposeSecret;

use super::{bare, env, with_file, wrong};
use crate::DatabaseConfig;
use crate::settings::Target;

const SENTINEL: &str = "S3ntinel-hunter2";

fn password(config: &DatabaseConfig) -> String {
    let Target::Server(server) = &config.target else {
        panic!("no server")
    };
    server.password.as_ref().unwrap().expose_secret().to_owned()
}

#[test]
fn any_printable_password_works_from_its_own_field() {
    let printable: String = (' '..='~').collect();
    for secret in [
        printable.as_str(),
        "123456",
        "true",
        "1.50",
        "[a]",
        "{a}",
        "\"q\"",
        " x ",
        "p@ss:w/ord?#%20",
        "ключ",
    ] {
        let config = env(&[("STORE_HOST", "h"), ("STORE_USER", "u"), ("STORE_PASSWORD", secret)]).unwrap();
        assert_eq!(password(&config), secret);
        let config = bare()
            .set("host", "h")
            .set("user", "u")
            .set("password", secret)
            .load()
            .unwrap();
        assert_eq!(password(&config), secret);
    }
}

#[test]
fn any_password_works_percent_encoded_in_a_url() {
    let printable: String = (' '..='~').collect();
    let encoded = percent_encoding::utf8_percent_encode(&printable, percent_encoding::NON_ALPHANUMERIC);
    let url = format!("postgres://us%40er:{encoded}@h/d%2Fb");
    let config = env(&[("STORE_URL", &url)]).unwrap();
    assert_eq!(password(&config), printable);
    assert_eq!(config.describe(), "Postgres d/b on h:5432 as us@er");
    assert_eq!(
        super::value_of(&config, "url").unwrap(),
        "postgres://us%40er:***@h/d%2Fb"
    );
}

#[test]
fn a_password_file_is_read_and_its_line_end_cut() {
    let (dir, loader) = with_file("host = 'h'\nuser = 'u'\npassword_file = 'secret'\n");
    let file = dir.path().join("secret");
    for (text, secret) in [("a b\n", "a b"), ("a\r\n", "a"), (" a ", " a "), ("a\n\n", "a\n")] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(password(&loader.clone().load().unwrap()), secret);
    }
    // The higher layer's form takes the lower one's place; in one layer they contradict each other.
    let config = loader.clone().environment([("STORE_PASSWORD", "env")]).load().unwrap();
    assert_eq!(password(&config), "env");
    let both = env(&[
        ("STORE_HOST", "h"),
        ("STORE_USER", "u"),
        ("STORE_PASSWORD", "p"),
        ("STORE_PASSWORD_FILE", file.to_str().unwrap()),
    ]);
    assert!(wrong(both).contains("both give the password"));
    std::fs::write(&file, "\n").unwrap();
    assert!(wrong(loader.clone().load()).contains("is empty"));
    std::fs::remove_file(&file).unwrap();
    assert!(wrong(loader.load()).contains("cannot read"));
}

#[test]
fn a_password_shows_nowhere() {
    let url = format!("postgres://u:{SENTINEL}@h/d");
    let by_parameter = format!("postgres://u@h/d?password={SENTINEL}");
    let parts = [("STORE_HOST", "h"), ("STORE_USER", "u"), ("STORE_PASSWORD", SENTINEL)];
    let replicas = [("STORE_URL", url.as_str()), ("STORE_POSTGRES__REPLICAS", url.as_str())];
    for pairs in [
        &[("STORE_URL", url.as_str())][..],
        &[("STORE_URL", by_parameter.as_str())],
        &parts,
        &replicas,
    ] {
        let loader = bare().environment(pairs.iter().copied()).set("operation_timeout", "9s");
        let config = loader.clone().load().unwrap();
        let shown = format!(
            "{loader:?} {config:?} {config:#?} {} {} {}",
            config.describe(),
            config.explain(),
            serde_json::to_string(config.explain()).unwrap()
        );
        assert!(!shown.contains(SENTINEL), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
}

#[test]
fn a_secret_shows_in_no_error() {
    let bad_url = format!("postgres://u:{SENTINEL}@h:bad/d");
    let replica = format!("postgres:{SENTINEL}");
    let cases: [&[(&str, &str)]; 6] = [
        &[("STORE_URL", &bad_url)],
        &[("STORE_URL", SENTINEL)],
        &[("STORE_DRIVER", "sqlite"), ("STORE_PASSWORD", SENTINEL)],
        &[("STORE_PASSWRD", SENTINEL)],
        &[
            ("STORE_URL", "postgres://u@h/d"),
            ("STORE_POSTGRES__REPLICAS", &replica),
        ],
        &[("STORE_PATH", "a"), ("STORE_VAULT__KEYS", SENTINEL)],
    ];
    for pairs in cases {
        let error = env(pairs).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SENTINEL), "{shown}");
    }
    let (_dir, loader) = with_file(&format!("host = 'h'\nuser = 'u'\npassword = ['{SENTINEL}']\n"));
    let error = wrong(loader.load());
    assert!(error.contains("`password`") && !error.contains(SENTINEL), "{error}");
}
