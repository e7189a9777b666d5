//! What the pages point at: links lead somewhere, and a source that is named is there.

use std::fs;

use crate::files::sources;
use crate::{repository, text_of};

/// README, the pages of `docs/`, and the examples' own.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "examples/README.md".to_owned()];
    for entry in fs::read_dir(repository("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    assert!(pages.len() > 8, "{pages:?}");
    pages
}

/// The headings of a page as links name them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with("##"));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading.chars().filter(kept).collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = text_of(&page);
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                repository(&page)
            } else {
                repository(&page).parent().unwrap().join(file)
            };
            assert!(target.exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(target).unwrap());
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{page}: {link} {anchors:?}"
                );
            }
            links += 1;
        }
    }
    assert!(links > 30, "{links}");
}

/// `http/routes/<noun>.rs` and the like stand for many.
#[test]
fn every_source_that_a_page_names_is_there() {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        paths.extend(sources(&repository(folder)).into_iter().map(|(path, _)| path));
    }
    let mut named = 0;
    for page in pages() {
        let text = text_of(&page);
        let words = text.split(|c: char| c.is_whitespace() || "`(),;[]".contains(c));
        for word in words.filter(|word| word.ends_with(".rs") && !word.contains(['<', '>', '*', ':'])) {
            let there = paths.iter().any(|path| path.ends_with(word));
            assert!(there || repository(word).exists(), "{page}: {word}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}
