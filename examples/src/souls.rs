//! Soul files: Markdown that begins with a few lines of TOML between two lines of `+++`.
//!
//! ```text
//! +++
//! slug = "night-watch"
//! name = "Night Watch"
//! category = "utility"        # assistant, creative, research or utility
//! description = "Optional."
//! tags = ["optional"]
//! +++
//!
//! # The soul itself
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use store::prelude::*;

/// The line that begins and ends the front matter.
const FENCE: &str = "+++";

/// One file: the bot it describes, and the soul to give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoulFile {
    /// Where it was read.
    pub path: PathBuf,
    /// The front matter.
    pub bot: NewBot,
    /// What follows the front matter, without blank lines around it and with `\n` at line ends, so that the same text is
    /// the same soul on every system.
    pub soul: String,
}

/// Something that is wrong with a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    path: PathBuf,
    line: Option<usize>,
    message: String,
}

impl Problem {
    fn in_line(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: Some(line),
            message: message.into(),
        }
    }

    fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    /// `souls/owl.md:3: …`, as compilers write it and editors understand it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Everything that is wrong with a folder, in the order of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Reads every `.md` file of the folder, in the order of their names.
///
/// # Errors
/// Everything that is wrong, not only the first: a folder is stored as a whole or not at all.
pub fn read_folder(folder: &Path) -> Result<Vec<SoulFile>, Problems> {
    let paths = soul_paths(folder).map_err(|problem| Problems(vec![problem]))?;
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let mut slugs: BTreeMap<String, (PathBuf, usize)> = BTreeMap::new();
    for path in paths {
        match read_file(&path) {
            Ok((file, slug_line)) => {
                let taken = slugs.insert(file.bot.slug.to_string(), (path.clone(), slug_line));
                if let Some((other, line)) = taken {
                    let slug = &file.bot.slug;
                    let message = format!("the slug `{slug}` is taken already, by {}:{line}", other.display());
                    problems.push(Problem::in_line(&path, slug_line, message));
                }
                files.push(file);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(Problems(problems))
    }
}

fn soul_paths(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error: std::io::Error| Problem::whole(folder, format!("cannot read the folder: {error}"));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "md") && !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Problem::whole(folder, "there is no soul file (*.md) in this folder"));
    }
    paths.sort();
    Ok(paths)
}

/// The file, and the line of its slug.
fn read_file(path: &Path) -> Result<(SoulFile, usize), Problem> {
    let bytes = std::fs::read(path).map_err(|error| Problem::whole(path, format!("cannot read it: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Problem::in_line(path, line, "is not UTF-8 text")
    })?;
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    if let Some((before, _)) = text.split_once('\0') {
        return Err(Problem::in_line(path, line_after(before), "holds U+0000; remove it"));
    }
    parse(path, &text)
}

/// The number of the line that begins after this text, or that continues it.
fn line_after(text: &str) -> usize {
    1 + text.matches('\n').count()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    slug: String,
    name: String,
    category: BotCategory,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
}

fn parse(path: &Path, text: &str) -> Result<(SoulFile, usize), Problem> {
    let (front, soul, soul_line) = split(path, text)?;
    let matter: FrontMatter = toml::from_str(front).map_err(|error| {
        let before = error
            .span()
            .and_then(|span| front.get(..span.start))
            .unwrap_or_default();
        // The front matter begins in the second line. What is missing altogether is missing from all of it.
        let line = if error.message().starts_with("missing field") {
            1
        } else {
            1 + line_after(before)
        };
        Problem::in_line(path, line, error.message())
    })?;
    let broken = |rule: &store::Error| Problem::in_line(path, line_of(front, rule.message()), rule.message());
    let slug = Slug::new(matter.slug).map_err(|rule| broken(&rule))?;
    let bot = NewBot {
        description: matter.description,
        category: matter.category,
        tags: matter.tags,
        ..NewBot::new(slug, matter.name)
    };
    bot.check().map_err(|rule| broken(&rule))?;
    let soul = soul.trim();
    if soul.is_empty() {
        return Err(Problem::in_line(
            path,
            soul_line,
            "there is no soul after the front matter",
        ));
    }
    let file = SoulFile {
        path: path.to_owned(),
        bot,
        soul: soul.to_owned(),
    };
    Ok((file, line_of(front, "slug")))
}

/// The front matter, what follows it, and the line in which that begins.
fn split<'a>(path: &Path, text: &'a str) -> Result<(&'a str, &'a str, usize), Problem> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if first.trim_end() != FENCE {
        let message = format!("a soul file begins with a line of {FENCE} and its front matter");
        return Err(Problem::in_line(path, 1, message));
    }
    let mut at = 0;
    for (index, line) in rest.split_inclusive('\n').enumerate() {
        if line.trim_end() == FENCE {
            let (front, soul) = (&rest[..at], &rest[at + line.len()..]);
            return Ok((front, soul, index + 3));
        }
        at += line.len();
    }
    Err(Problem::in_line(
        path,
        1,
        format!("the front matter has no end: a second line of {FENCE} is missing"),
    ))
}

/// The line of the field that a rule's message begins with, like `tags[2] holds …`; the first line when it is not found.
fn line_of(front: &str, message: &str) -> usize {
    let field = message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default();
    let names = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == field);
    front.lines().position(names).map_or(1, |index| index + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWL: &str = "+++\nslug = \"owl\"\nname = \"Owl\"\ncategory = \"utility\"\n+++\nYou are awake.\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// What is wrong with these files, without the folder's own path.
    fn wrong(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let problems = read_folder(folder.path()).unwrap_err().to_string();
        problems.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn the_shipped_souls_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("souls");
        let slugs: Vec<_> = read_folder(&folder)
            .unwrap()
            .into_iter()
            .map(|file| file.bot.slug.to_string())
            .collect();
        assert_eq!(slugs, ["kitchen-table", "night-watch", "second-reader", "understudy"]);
    }

    #[test]
    fn a_soul_is_the_same_with_windows_line_ends_and_a_byte_order_mark() {
        let windows = format!("\u{feff}{}", OWL.replace('\n', "\r\n"));
        let folder = folder(&[("owl.md", OWL), ("README.txt", "not a soul")]);
        let unix = read_folder(folder.path()).unwrap();
        std::fs::write(folder.path().join("owl.md"), windows).unwrap();
        assert_eq!(read_folder(folder.path()).unwrap(), unix);
        assert_eq!(unix[0].soul, "You are awake.");
    }

    #[test]
    fn what_is_wrong_names_file_and_line() {
        for (text, expected) in [
            (
                "# Owl\n",
                "owl.md:1: a soul file begins with a line of +++ and its front matter",
            ),
            (
                "",
                "owl.md:1: a soul file begins with a line of +++ and its front matter",
            ),
            (
                "+++\nslug = \"owl\"\n",
                "owl.md:1: the front matter has no end: a second line of +++ is missing",
            ),
            (&OWL.replace("name = \"Owl\"\n", ""), "owl.md:1: missing field `name`"),
            (
                &OWL.replace("\"owl\"", "\"Night Owl\""),
                "owl.md:2: slug must be 1 to 64 of a-z, 0-9 and single",
            ),
            (
                &OWL.replace("\"Owl\"", "\" \""),
                "owl.md:3: name is blank; give it a name",
            ),
            (
                &OWL.replace("\"Owl\"", "\"a\\u0000\""),
                "owl.md:3: name holds U+0000 at byte 1",
            ),
            (
                &OWL.replace("\"Owl\"", "7"),
                "owl.md:3: invalid type: integer `7`, expected a string",
            ),
            (&OWL.replace("\"Owl\"", "\"Owl"), "owl.md:3: "),
            (
                &OWL.replace("utility", "tool"),
                "owl.md:4: unknown variant `tool`, expected one of `assistant`, `creative`",
            ),
            (
                &OWL.replace("category", "catgory"),
                "owl.md:4: unknown field `catgory`, expected one of `slug`, `name`",
            ),
            (
                &OWL.replace("You are awake.", ""),
                "owl.md:6: there is no soul after the front matter",
            ),
            (&OWL.replace("awake", "a\0wake"), "owl.md:6: holds U+0000; remove it"),
        ] {
            let said = wrong(&[("owl.md", text)]);
            assert!(said.starts_with(expected), "{said:?} does not begin with {expected:?}");
        }
    }

    #[test]
    fn every_problem_of_a_folder_is_told_at_once() {
        let said = wrong(&[("a.md", OWL), ("b.md", "no front matter"), ("c.md", OWL)]);
        let expected = "b.md:1: a soul file begins with a line of +++ and its front matter\n\
                        c.md:2: the slug `owl` is taken already, by a.md:2";
        assert_eq!(said, expected);
    }

    #[test]
    fn bytes_that_are_not_text_are_found() {
        let folder = folder(&[]);
        std::fs::write(folder.path().join("owl.md"), b"+++\n\xff").unwrap();
        assert!(
            read_folder(folder.path())
                .unwrap_err()
                .to_string()
                .ends_with("owl.md:2: is not UTF-8 text")
        );
    }

    #[test]
    fn a_folder_must_be_there_and_hold_souls() {
        let empty = folder(&[("notes.txt", "")]);
        let said = read_folder(empty.path()).unwrap_err().to_string();
        assert!(said.ends_with("there is no soul file (*.md) in this folder"), "{said}");
        let said = read_folder(&empty.path().join("absent")).unwrap_err().to_string();
        assert!(
            said.contains("absent: cannot read the folder: No such file or directory"),
            "{said}"
        );
    }
}
