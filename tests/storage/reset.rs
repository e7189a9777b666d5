//! Emptying the database for an E2E suite.

use stile::storage::{self as s, MailKind};

use crate::engines::{add_user, at, on_both_engines};
use crate::mail_jobs::new_job;

on_both_engines! {
    async fn everybody_and_every_mail_is_deleted(db) {
        add_user(&db, "ada@example.com").await;
        let mut on = db.write().await.unwrap();
        s::queue_mail(&mut on, &new_job(MailKind::PasswordReset, "grace@example.com")).await.unwrap();
        drop(on);
        let mut transaction = db.begin().await.unwrap();
        s::delete_everybody(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let mut on = db.read().await.unwrap();
        assert!(s::find_user_by_email(&mut on, "ada@example.com").await.unwrap().is_none());
        assert!(!s::is_mail_on_its_way(&mut on, None, at(0)).await.unwrap());
    }
}

/// A new table goes with its user, or is named by `delete_everybody`, or stays on purpose.
#[test]
fn no_table_is_forgotten() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let deleting = std::fs::read_to_string(root.join("src/storage/reset.rs")).unwrap();
    for file in std::fs::read_dir(root.join("migrations")).unwrap() {
        let sql = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for table in sql.split("CREATE TABLE ").skip(1) {
            let (name, rest) = table.split_once(" (").unwrap();
            let columns = rest.split_once("\n);").unwrap().0;
            let goes_with_user = columns.contains("REFERENCES users (id) ON DELETE CASCADE");
            let is_deleted = deleting.contains(&format!("DELETE FROM {name}\""));
            // `guards` has a row for each thing that is locked, and nothing of anybody.
            let stays = ["audit_log", "guards"].contains(&name);
            assert!(
                goes_with_user || is_deleted || stays,
                "{name}: add it to storage::delete_everybody"
            );
        }
    }
}
