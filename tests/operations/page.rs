//! `docs/OPERATIONS.md` against the sources: no line of the log and no event that it does not explain, and none that is gone.

use stile::config::variables;

use crate::text_of;

const PAGE: &str = "docs/OPERATIONS.md";

/// The page between two marks.
fn part(name: &str) -> String {
    let page = text_of(PAGE);
    let begin = format!("<!-- {name} -->");
    let rest = page.split_once(&begin).unwrap_or_else(|| panic!("{begin}")).1;
    rest.split_once(&format!("<!-- /{name} -->"))
        .unwrap()
        .0
        .to_owned()
}

/// What stands between backticks in the first `columns` of each row of a table.
fn quoted(table: &str, column: usize) -> Vec<String> {
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.flat_map(|row| {
        let cell = row.split('|').nth(column).unwrap();
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The last text of a call of `tracing`: its message, with lines that are continued joined.
fn messages(text: &str, level: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = Vec::new();
    for call in text.split(&format!("tracing::{level}!(")).skip(1) {
        let (mut depth, mut inside, mut escaped) = (1, false, false);
        let (mut literal, mut message) = (String::new(), None);
        for c in call.chars() {
            match c {
                _ if escaped => {
                    escaped = false;
                    literal.push(c);
                }
                '\\' if inside => escaped = true,
                '"' if inside => {
                    inside = false;
                    message = Some(std::mem::take(&mut literal));
                }
                _ if inside => literal.push(c),
                '"' => inside = true,
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        let message = message.unwrap_or_else(|| panic!("a line without a message: {}", &call[..80]));
        // `\` at the end of a line takes the white space behind it away.
        let joined: Vec<&str> = message.split('\n').map(str::trim_start).collect();
        found.push(joined.concat());
    }
    found
}

/// `…` ends what is too long for a table.
fn explains(said: &str, message: &str) -> bool {
    match said.strip_suffix('…') {
        Some(beginning) => message.starts_with(beginning),
        None => message == said || (said.ends_with(": ") && message.starts_with(said)),
    }
}

#[test]
fn every_line_of_the_log_is_explained_and_none_is_that_is_gone() {
    let table = part("log lines");
    let said = quoted(&table, 2);
    let mut all = Vec::new();
    for (file, text) in crate::files::sources(&crate::repository("src")) {
        for level in ["error", "warn", "info"] {
            for message in messages(&text, level) {
                // The remarks of `check`, which the table names as such.
                if message == "{}" {
                    continue;
                }
                let row = table.lines().find(|row| {
                    quoted(&format!("| |\n| |\n{row}"), 2)
                        .iter()
                        .any(|said| explains(said, &message))
                });
                let row = row.unwrap_or_else(|| {
                    panic!(
                        "{}: {PAGE} has no row for the log line `{message}`",
                        file.display()
                    )
                });
                assert!(
                    row.starts_with(&format!("| {} ", level.to_uppercase())),
                    "{level}: {row}"
                );
                all.push(message);
            }
        }
    }
    assert!(all.len() > 20, "{all:?}");
    for said in said {
        let stands = ["stile check", "to_type"].contains(&said.as_str());
        assert!(
            stands || all.iter().any(|message| explains(&said, message)),
            "no log line `{said}`"
        );
    }
}

#[test]
fn every_event_is_explained_and_none_is_that_is_gone() {
    let audit = text_of("src/audit.rs");
    let names = audit.split_once("impl EventKind").unwrap().1;
    let names = names.split_once("impl Outcome").unwrap().0;
    let mut ours: Vec<String> = names
        .split("=> \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let mut explained = quoted(&part("events"), 1);
    ours.sort();
    explained.sort();
    assert_eq!(explained, ours);
}

/// A word in capitals that looks like a variable is one.
#[test]
fn every_variable_that_the_page_names_is_one() {
    let known = variables();
    // Of the compose file.
    let others = ["DATABASE_PASSWORD", "REDIS_PASSWORD"];
    for word in text_of(PAGE).split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')) {
        if word.contains('_') && word.len() > 4 && !word.starts_with('_') && !word.ends_with('_') {
            assert!(
                known.iter().any(|variable| variable.name == word)
                    || others.contains(&word)
                    || word == "RATE_LIMITS",
                "{word}"
            );
        }
    }
}

/// `docs/SECURITY.md`: a case that it names has a test of that name.
#[test]
fn every_case_that_the_security_page_names_has_a_test() {
    let mut tests = String::new();
    for folder in ["tests", "src"] {
        for (file, text) in crate::files::sources(&crate::repository(folder)) {
            if !file.ends_with("tests/operations/page.rs") {
                tests.push_str(&text);
            }
        }
    }
    let page = text_of("docs/SECURITY.md");
    let mut named = 0;
    for line in page.split("<sub>").skip(1) {
        for case in line.split("</sub>").next().unwrap().split(", ") {
            assert!(tests.contains(case), "{case} has no test");
            named += 1;
        }
    }
    assert!(named > 60, "{named}");
}
