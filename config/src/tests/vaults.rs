//! The vault's key ring.

use super::{bare, env, with_file, wrong};

const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[test]
fn without_keys_there_is_no_vault() {
    assert!(bare().set("path", ":memory:").load().unwrap().vault.is_none());
    assert!(wrong(bare().set("vault.active", "a").load()).contains("needs `vault.keys` or `vault.key_file`"));
}

#[test]
fn keys_from_each_layer() {
    let (_dir, loader) = with_file(&format!(
        "[vault]\nactive = 'b'\nkeys = {{ a = '{ZEROS}', b = '{ONES}' }}\n"
    ));
    let vault = loader.load().unwrap().vault.unwrap();
    assert_eq!(vault.active(), "b");
    assert_eq!(vault.keys()["a"].expose(), &[0; 32]);
    assert_eq!(vault.keys()["b"].expose(), &[1; 32]);

    let keys = format!("2026-01:{ZEROS}");
    let config = env(&[("STORE_VAULT__KEYS", &keys)]).unwrap();
    assert_eq!(config.vault.as_ref().unwrap().active(), "2026-01");
    assert_eq!(super::source_of(&config, "vault.active"), "follows from `vault.keys`");
    assert_eq!(super::value_of(&config, "vault.keys").unwrap(), "2026-01=***");
    assert!(!format!("{config:?}").contains("[0, 0"), "{config:?}");
}

#[test]
fn keys_from_a_file() {
    let (dir, loader) = with_file("[vault]\nactive = 'b'\nkey_file = 'vault.keys'\n");
    let file = dir.path().join("vault.keys");
    std::fs::write(&file, format!("# old\na:{ZEROS}\n\nb: {ONES}\r\n")).unwrap();
    let vault = loader.clone().load().unwrap().vault.unwrap();
    assert_eq!((vault.active(), vault.keys().len()), ("b", 2));

    std::fs::write(&file, format!("a:{ZEROS}\na:{ONES}\nnonsense\n:{ZEROS}\n")).unwrap();
    let error = wrong(loader.clone().load());
    assert!(
        error.contains("line 3 of") && error.contains("given twice") && error.contains("id is empty"),
        "{error}"
    );
    assert!(!error.contains(ZEROS), "{error}");
    std::fs::write(&file, "# nothing\n").unwrap();
    assert!(wrong(loader.clone().load()).contains("holds no key"));
    std::fs::remove_file(&file).unwrap();
    assert!(wrong(loader.load()).contains("cannot read"));
}

#[test]
fn a_ring_that_cannot_be_used() {
    let case = |active: Option<&str>, keys: &str, expected: &str| {
        let mut pairs = vec![("STORE_PATH", "a"), ("STORE_VAULT__KEYS", keys)];
        pairs.extend(active.map(|active| ("STORE_VAULT__ACTIVE", active)));
        let error = wrong(env(&pairs));
        assert!(error.contains(expected), "{expected} in {error}");
    };
    case(
        None,
        &format!("a:{ZEROS} b:{ONES}"),
        "`vault.active` is needed to say which key",
    );
    case(Some("c"), &format!("a:{ZEROS}"), "there is no key `c`; the keys are: a");
    case(None, "a:AAAA", "key `a` has 3 bytes and needs 32");
    case(None, "a:!!!", "key `a` is not base64");
    case(None, "a=b", "expected `name:value` items");
    case(None, &format!("a/b:{ZEROS}"), "a key id is not");
}
