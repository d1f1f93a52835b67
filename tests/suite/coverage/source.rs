//! Reads the project's own sources. They are formatted by rustfmt, and the contract is regular: no more is needed than
//! looking at lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A trait of the contract.
pub(super) struct Trait {
    pub(super) name: String,
    /// Its name in `Repositories`.
    pub(super) repository: String,
    pub(super) promise: String,
    pub(super) methods: Vec<Method>,
}

pub(super) struct Method {
    pub(super) name: String,
    pub(super) promise: String,
}

pub(super) struct Table {
    pub(super) name: String,
    pub(super) row: String,
}

/// The traits, in the order of `Repositories`, which links them.
pub(super) fn traits(root: &Path) -> Vec<Trait> {
    let contract = text_of_all(&root.join("store/src/contract"));
    let repositories = fs::read_to_string(root.join("store/src/repositories.rs")).unwrap();
    let mut traits = vec![];
    for (doc, repository) in documented(&repositories, "    ", "fn ") {
        let links = doc.split("(crate::").skip(1).map(identifier);
        let named = links.filter(|name| contract.contains(&format!("pub trait {name}: ")));
        traits.extend(named.map(|name| read_trait(&contract, name, repository.clone())));
    }
    traits
}

fn read_trait(contract: &str, name: String, repository: String) -> Trait {
    let all = documented(contract, "", "pub trait ");
    let (doc, _) = all.into_iter().find(|(_, found)| *found == name).unwrap();
    let (_, body) = contract.split_once(&format!("pub trait {name}: ")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let methods = documented(body, "    ", "fn ").into_iter();
    let methods = methods.map(|(doc, name)| Method {
        name,
        promise: first_sentence(&doc),
    });
    Trait {
        promise: first_sentence(&doc),
        methods: methods.collect(),
        name,
        repository,
    }
}

/// The tables, by name.
pub(super) fn tables(root: &Path) -> Vec<Table> {
    let files = files(&root.join("entity/src")).into_iter();
    let texts = files.map(|path| fs::read_to_string(path).unwrap());
    let tables = texts.filter_map(|text| {
        let (_, rest) = text.split_once("#[sea_orm(table_name = \"")?;
        let (name, _) = rest.split_once('"')?;
        let all = documented(&text, "", "pub struct ");
        let (doc, _) = all.into_iter().find(|(_, found)| found == "Model")?;
        Some(Table {
            name: name.to_owned(),
            row: first_sentence(&doc),
        })
    });
    let mut tables = tables.collect::<Vec<_>>();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

/// Items with their documentation: what follows `keyword` on lines of this indentation. A sentence ends a paragraph.
fn documented(text: &str, indent: &str, keyword: &str) -> Vec<(String, String)> {
    let (mut found, mut doc) = (vec![], String::new());
    for line in text.lines() {
        let Some(line) = line.strip_prefix(indent).filter(|line| !line.starts_with(' ')) else {
            continue;
        };
        if let Some(words) = line.strip_prefix("///") {
            doc.push_str(if words.is_empty() { "\n" } else { words });
        } else if let Some(item) = line.strip_prefix(keyword) {
            found.push((std::mem::take(&mut doc), identifier(item)));
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Without the links: ``[`touch`](Self::touch)`` is `touch`.
fn first_sentence(doc: &str) -> String {
    let paragraph = doc.trim().split('\n').next().unwrap_or_default();
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    let mut text = String::new();
    let mut rest = &paragraph[..end];
    while let Some((before, link)) = rest.split_once('[') {
        let (words, after) = link.split_once(']').unwrap_or((link, ""));
        text.push_str(before);
        text.push_str(words);
        rest = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or("", |(_, after)| after),
            None => after,
        };
    }
    text.push_str(rest);
    text.replace('|', "\\|")
}

/// Which test calls which method.
pub(super) struct Calls(Vec<TestCalls>);

struct TestCalls {
    test: String,
    /// As `bots.create`.
    methods: BTreeSet<String>,
}

impl Calls {
    /// The tests that call the method: first those that are most about it, by their name, their module, and how little
    /// else they call.
    pub(super) fn tests_of(&self, repository: &str, method: &str) -> Vec<String> {
        let called = format!("{repository}.{method}");
        let calling = self.0.iter().filter(|test| test.methods.contains(&called));
        let mut calling = calling.collect::<Vec<_>>();
        calling.sort_by_key(|TestCalls { test, methods }| {
            let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
            let at_home = module.split("::").any(|part| part == repository);
            let named = name.split('_').any(|word| method.split('_').any(|part| part == word));
            (!at_home, !named, methods.len(), test)
        });
        calling.into_iter().map(|calls| calls.test.clone()).collect()
    }
}

/// The calls of every test. Those of `statements.rs` and `plans.rs` call everything and show nothing but that, and
/// are left out.
pub(super) fn calls(root: &Path) -> Calls {
    let methods = traits(root);
    let mut tests = vec![];
    for (dir, prefix) in [("store/src/conformance", "conformance::"), ("tests/suite", "")] {
        let dir = root.join(dir);
        for path in files(&dir) {
            let module = path.strip_prefix(&dir).unwrap().with_extension("");
            let module = module.to_string_lossy().replace(['/', '\\'], "::");
            if !module.starts_with("statements") && !module.starts_with("plans") {
                let text = fs::read_to_string(&path).unwrap();
                tests.extend(calls_in(&text, &format!("{prefix}{module}"), &methods));
            }
        }
    }
    Calls(tests)
}

fn calls_in(text: &str, module: &str, traits: &[Trait]) -> Vec<TestCalls> {
    let bodies = functions(text);
    let direct = bodies.iter().map(|(name, body)| (name.as_str(), called(body, traits)));
    let direct = direct.collect::<BTreeMap<_, _>>();
    let mut tests = vec![];
    for test in listed(text).into_iter().filter(|name| bodies.contains_key(name)) {
        let methods = reached(&test, &bodies)
            .into_iter()
            .flat_map(|name| direct[name].iter().cloned());
        tests.push(TestCalls {
            test: format!("{module}::{test}"),
            methods: methods.collect(),
        });
    }
    tests
}

/// The functions at the margin, each without white space.
fn functions(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some((name, mut body)) = open.take() {
            if line == "}" {
                found.insert(name, body);
            } else {
                body.extend(line.split("//").next().unwrap_or_default().split_whitespace());
                open = Some((name, body));
            }
        } else if let Some((before, rest)) = line.split_once("fn ")
            && !line.starts_with(' ')
            && before
                .split_whitespace()
                .all(|word| word == "async" || word.starts_with("pub"))
        {
            open = Some((identifier(rest), rest.split_whitespace().collect()));
        }
    }
    found
}

/// The functions that `tests![…]` and `cases![…]` list.
fn listed(text: &str) -> Vec<String> {
    let mut names = vec![];
    for (start, end) in [("tests![", "];"), ("tests! {", "\n}"), ("cases![", "];")] {
        for rest in text.split(start).skip(1) {
            let list = rest.split_once(end).map_or("", |(list, _)| list);
            let words = list.split(|c: char| !c.is_alphanumeric() && c != '_');
            names.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    names
}

/// The function and those of the same file that it calls.
fn reached<'a>(test: &str, bodies: &'a BTreeMap<String, String>) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![test.to_owned()]);
    while let Some(name) = next.pop() {
        let Some((name, body)) = bodies.get_key_value(&name) else {
            continue;
        };
        if reached.insert(name.as_str()) {
            next.extend(bodies.keys().filter(|other| uses(body, &format!("{other}("))).cloned());
        }
    }
    reached
}

/// `store.bots().create(`, or `let keeper = tx.bots(); … keeper.create(`.
fn called(body: &str, traits: &[Trait]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for Trait {
        name,
        repository,
        methods,
        ..
    } in traits
    {
        let mut receivers = vec![format!("{repository}()"), repository.clone()];
        let (binding, parameter) = (format!(".{repository}();"), format!("impl{name}"));
        let bound = body.match_indices(&binding);
        receivers.extend(bound.filter_map(|(at, _)| {
            let statement = body[..at].rsplit([';', '{', '}']).next()?;
            statement
                .strip_prefix("let")?
                .split_once('=')
                .map(|(name, _)| name.to_owned())
        }));
        let parameters = body.match_indices(&parameter);
        receivers.extend(parameters.filter_map(|(at, _)| {
            let name = body[..at].trim_end_matches('&').strip_suffix(':')?;
            Some(name.rsplit(['(', ',']).next()?.to_owned())
        }));
        for method in methods {
            if receivers
                .iter()
                .any(|receiver| uses(body, &format!("{receiver}.{}(", method.name)))
            {
                found.insert(format!("{repository}.{}", method.name));
            }
        }
    }
    found
}

/// Whether the text is there, and not as the end of a longer name.
fn uses(body: &str, text: &str) -> bool {
    let mut found = body.match_indices(text);
    found.any(|(at, _)| !body[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The Rust files below, in the order of their paths.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The text of every file below.
pub(super) fn text_of_all(dir: &Path) -> String {
    let texts = files(dir).into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts.collect()
}
