//! What README and `docs/OPERATIONS.md` tell somebody to put into the env file of production: written down as printed, it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::process::Stile;
use crate::text_of;

/// The fenced blocks of a chapter, each with what stands behind its three backticks.
fn blocks(page: &str, heading: &str) -> Vec<(String, String)> {
    let text = text_of(page);
    let chapter = text.split_once(&format!("\n{heading}\n")).expect(heading).1;
    let chapter = chapter.split("\n## ").next().unwrap();
    let fences: Vec<&str> = chapter.split("```").collect();
    assert_eq!(fences.len() % 2, 1, "{heading}: a block that is not closed");
    let inside = fences.into_iter().skip(1).step_by(2);
    inside
        .map(|block| block.split_once('\n').unwrap())
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

/// The one block of a chapter that holds `NAME=value` lines for an env file.
fn settings(page: &str, heading: &str) -> String {
    let mut found = blocks(page, heading);
    found.retain(|(_, text)| text.contains("\nSMTP_URL="));
    assert_eq!(found.len(), 1, "{page}");
    found.remove(0).1
}

/// In `folder`, as somebody would type it, with stile on the PATH.
fn shell(folder: &Path, commands: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_stile")).parent().unwrap();
    let ended = Command::new("sh")
        .args(["-ec", &format!("PATH={}:$PATH\n{commands}", program.display())])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{commands}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn add(file: &Path, lines: &str) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text + lines).unwrap();
}

#[test]
fn what_readme_says_for_production_is_taken_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env.production");
    fs::write(&file, text_of(".env.production")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    shell(folder.path(), &blocks("README.md", "## Production")[0].1);
    add(&file, &settings("README.md", "## Production"));
    let ended = Stile::in_directory(folder.path())
        .set("ENVIRONMENT", "production")
        .run(&["check", "--strict"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
}

#[test]
fn what_the_operators_page_says_for_systemd_is_taken_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().to_str().unwrap();
    let page = ("docs/OPERATIONS.md", "## On a machine with systemd");
    let file = folder.path().join("env");
    fs::write(&file, text_of(".env.production")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    // Of the first block what makes files under /etc/stile; the rest makes users and folders of the machine.
    let printed = &blocks(page.0, page.1)[0].1;
    let ours = printed
        .lines()
        .filter(|line| line.contains(">") && line.contains("/etc/stile/"));
    let commands: Vec<String> = ours.map(|line| line.replace("/etc/stile", etc)).collect();
    assert_eq!(commands.len(), 2, "the key and SECRET_KEY: {commands:?}");
    shell(folder.path(), &commands.join("\n"));
    add(&file, &settings(page.0, page.1).replace("/etc/stile", etc));
    let env_file = file.to_str().unwrap();
    let ended = Stile::in_directory(folder.path()).run(&["--env-file", env_file, "check", "--strict"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
}

/// Each line alone, as it would stand in an env file.
#[test]
fn every_limit_that_readme_shows_is_taken() {
    let lines = &blocks("README.md", "## Limits")[0].1;
    assert!(lines.lines().count() > 5);
    for line in lines.lines() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), line).unwrap();
        let ended = Stile::in_directory(folder.path()).run(&["check"]);
        assert_eq!(ended.code, Some(0), "{line}\n{}{}", ended.out, ended.err);
    }
}
