//! Mail as files.

use std::os::unix::fs::PermissionsExt as _;

use stile::mail::{Mailer, SendError, TransportSettings};

use super::{LINK, mailer, reset_mail};

fn folder_mailer(path: &std::path::Path) -> Mailer {
    mailer(TransportSettings::Folder(path.to_owned())).unwrap()
}

fn names(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_mail_is_one_file_in_a_folder_that_is_made_and_names_sort_by_time() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data/outbox");
    let mailer = folder_mailer(&path);
    for subject in ["first", "second", "third"] {
        let mut mail = reset_mail();
        mail.subject = subject.into();
        mailer.send(&mail).await.unwrap();
    }
    let names = names(&path);
    assert_eq!(names.len(), 3);
    for (name, subject) in names.iter().zip(["first", "second", "third"]) {
        assert!(name.ends_with(".eml"), "{name}");
        let mail = std::fs::read_to_string(path.join(name)).unwrap();
        assert!(mail.contains(&format!("Subject: {subject}\r\n")), "{mail}");
        assert!(mail.contains(&format!("\r\n{LINK}\r\n")), "{mail}");
        assert!(mail.contains("To: marker@user.example\r\n"), "{mail}");
    }
}

/// Whoever may read a mail may set its owner's password.
#[tokio::test]
async fn a_mail_is_readable_by_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    folder_mailer(root.path()).send(&reset_mail()).await.unwrap();
    let mail = root.path().join(&names(root.path())[0]);
    let mode = std::fs::metadata(mail).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_hundred_mails_at_once_are_a_hundred_whole_files() {
    let root = tempfile::tempdir().unwrap();
    let mailer = folder_mailer(root.path());
    let sending: Vec<_> = (0..100)
        .map(|_| {
            let mailer = mailer.clone();
            tokio::spawn(async move { mailer.send(&reset_mail()).await })
        })
        .collect();
    for sent in sending {
        sent.await.unwrap().unwrap();
    }
    let names = names(root.path());
    assert_eq!(names.len(), 100, "and nothing unfinished is left");
    for name in names {
        let mail = std::fs::read_to_string(root.path().join(name)).unwrap();
        assert!(mail.trim_end().ends_with("--"), "{mail}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_a_temporary_failure_of_sending_and_of_ping() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("in-the-way");
    std::fs::write(&file, "").unwrap();
    let mailer = folder_mailer(&file.join("outbox"));
    let sent = mailer.send(&reset_mail()).await;
    assert!(
        matches!(&sent, Err(SendError::Temporary(text)) if !text.contains("in-the-way")),
        "{sent:?}"
    );
    let pinged = mailer.ping().await.unwrap_err();
    assert!(!pinged.to_string().contains("in-the-way"), "{pinged:?}");
}

#[tokio::test]
async fn ping_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    folder_mailer(root.path()).ping().await.unwrap();
    assert_eq!(names(root.path()), Vec::<String>::new());
}
