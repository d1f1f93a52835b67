//! SQLite's catalog keeps the text of CREATE statements and nothing of the names of constraints or of what checks say, so
//! the text is what there is to read. These tokens make two texts comparable that differ in case, quotes and spaces.

/// Splits SQL into tokens: words and quoted names in lower case, literals as they are, punctuation one by one.
pub(super) fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = vec![];
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '-' if rest.starts_with("--") => {
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            '\'' => quoted(rest, '\''),
            '"' | '`' => quoted(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(plain(token));
        rest = after;
    }
    tokens
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of a quoted token, doubled quotes included.
fn quoted(sql: &str, quote: char) -> usize {
    let mut characters = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            continue;
        }
        if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
        } else {
            return at + quote.len_utf8();
        }
    }
    sql.len()
}

fn plain(token: &str) -> String {
    let inner = |token: &str| {
        token
            .get(1..token.len().saturating_sub(1))
            .unwrap_or_default()
            .to_lowercase()
    };
    match token.chars().next() {
        Some('\'') => token.to_owned(),
        Some('"') => inner(token).replace("\"\"", "\""),
        Some('`' | '[') => inner(token),
        _ => token.to_lowercase(),
    }
}

/// Tokens as text again, always the same way.
pub(super) fn join(tokens: &[String]) -> String {
    let mut text = String::new();
    let mut previous = "(";
    for token in tokens {
        let tight = text.is_empty() || previous == "(" || matches!(token.as_str(), ")" | ",");
        if !tight {
            text.push(' ');
        }
        text.push_str(token);
        previous = token;
    }
    text
}

/// The parts of a parenthesised list that starts at `open`, and what comes after it.
pub(super) fn parts(tokens: &[String], open: usize) -> (Vec<&[String]>, &[String]) {
    let mut parts = vec![];
    let mut depth = 0_usize;
    let mut start = open + 1;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" if depth == 1 => {
                parts.push(&tokens[start..at]);
                return (parts, &tokens[at + 1..]);
            }
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 1 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    (parts, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        let one = join(&tokens("CHECK (\"Status\" IN ('a', 'B''s'))"));
        let other = join(&tokens("check([status]in('a' , 'B''s') /* words */) -- end"));
        assert_eq!(one, other);
        assert_eq!(one, "check (status in ('a', 'B''s'))");
    }

    #[test]
    fn lists_are_split_at_their_own_commas() {
        let tokens = tokens("create table t (a int check (a in (1, 2)), b text, primary key (a, b)) strict");
        let open = tokens.iter().position(|token| token == "(").unwrap();
        let (parts, rest) = parts(&tokens, open);
        assert_eq!(
            parts.iter().map(|part| join(part)).collect::<Vec<_>>(),
            ["a int check (a in (1, 2))", "b text", "primary key (a, b)"]
        );
        assert_eq!(join(rest), "strict");
    }

    #[test]
    fn unfinished_sql_ends() {
        for sql in ["'open", "\"open", "[open", "/* open", "(", "a, (b", "'"] {
            let tokens = tokens(sql);
            parts(&tokens, 0);
        }
    }
}
