//! `audit_log`, and the record that writes it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use stile::audit::{Audit, Event, EventKind, Outcome};
use stile::clock::Clock;
use stile::storage as s;

use crate::engines::{at, on_both_engines};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

on_both_engines! {
    /// LGR-03
    async fn an_event_becomes_a_row_with_all_it_knows(db) {
        let audit = Audit::start(db.database.clone(), Clock::manual(at(0)));
        let user = s::new_id(at(0));
        let event = Event::new(EventKind::LoginFailure, Outcome::Failure)
            .because("wrong_password")
            .of_user(user)
            .of_account("abc")
            .in_request(IP, "request-1");
        audit.record(&event);
        audit.record(&Event::new(EventKind::Register, Outcome::Success));
        audit.shutdown().await;
        let rows = s::latest_audit_rows(&mut db.read().await.unwrap(), 10).await.unwrap();
        assert_eq!(rows.len(), 2);
        let row = rows.iter().find(|row| row.event == "login_failure").unwrap();
        assert_eq!((row.at, row.outcome.as_str(), row.occurrences), (at(0), "failure", 1));
        assert_eq!(row.reason.as_deref(), Some("wrong_password"));
        assert_eq!(row.user_id, Some(user.to_string()));
        assert_eq!(row.account.as_deref(), Some("abc"));
        assert_eq!((row.client_ip.as_deref(), row.request_id.as_deref()), (Some("127.0.0.1"), Some("request-1")));
        audit.record(&event);
    }
}

on_both_engines! {
    async fn a_flood_of_refusals_is_a_few_rows_that_know_their_number(db) {
        let audit = Audit::start(db.database.clone(), Clock::manual(at(0)));
        for n in 0..5000_u32 {
            let ip = IpAddr::V4(Ipv4Addr::from(n % 4));
            audit.record(&Event::new(EventKind::RateLimited, Outcome::Failure).because("login").in_request(ip, "r"));
        }
        audit.shutdown().await;
        let rows = s::latest_audit_rows(&mut db.read().await.unwrap(), 1000).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.occurrences).sum::<i64>(), 5000);
        assert!(rows.len() <= 100, "{} rows", rows.len());
    }
}

on_both_engines! {
    async fn rows_older_than_the_retention_are_swept(db) {
        let clock = Clock::manual(at(0));
        let audit = Audit::start(db.database.clone(), clock.clone());
        audit.record(&Event::new(EventKind::Logout, Outcome::Success));
        clock.advance(Duration::from_secs(10));
        audit.record(&Event::new(EventKind::Register, Outcome::Success));
        audit.shutdown().await;
        let mut transaction = db.begin().await.unwrap();
        assert_eq!(s::sweep_audit_rows(&mut transaction, at(9), 10).await.unwrap(), 1);
        transaction.commit().await.unwrap();
        let rows = s::latest_audit_rows(&mut db.read().await.unwrap(), 10).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["register"]);
    }
}

/// A row that knows all.
pub fn row(second: i64) -> s::AuditRow {
    let id = || Some(s::new_id(at(second)).to_string());
    s::AuditRow {
        id: s::new_id(at(second)),
        at: at(second),
        event: "login_failure".to_owned(),
        outcome: "failure".to_owned(),
        reason: Some("wrong_password".to_owned()),
        user_id: id(),
        target_id: id(),
        account: Some("abc".to_owned()),
        client_ip: Some("2001:db8::1".to_owned()),
        request_id: Some("request-1".to_owned()),
        occurrences: second,
    }
}

on_both_engines! {
    /// What is read is what was written, in each column, also of a row that knows next to nothing, and whatever a text holds.
    async fn rows_are_added_many_at_once_and_twice_is_once(db) {
        let bare = |second: i64| s::AuditRow {
            reason: None,
            user_id: None,
            target_id: None,
            account: None,
            client_ip: None,
            request_id: None,
            ..row(second)
        };
        let odd = |second: i64| s::AuditRow {
            reason: Some("\"'\\u0041 \n\u{1f511} [1]".to_owned()),
            account: Some(String::new()),
            request_id: Some("null".to_owned()),
            occurrences: i64::MAX,
            ..row(second)
        };
        let mut rows: Vec<s::AuditRow> = (1..=600)
            .map(|second| match second % 3 {
                0 => row(second),
                1 => bare(second),
                _ => odd(second),
            })
            .collect();
        for some in [&rows[..1], &rows[..0], &rows[..400], &rows[200..], &rows[..]] {
            s::add_audit_rows(&mut db.write_idempotent().await.unwrap(), some).await.unwrap();
        }
        rows.reverse();
        let mut on = db.read().await.unwrap();
        assert_eq!(s::latest_audit_rows(&mut on, 1000).await.unwrap(), rows);
    }
}

/// Second, event, who did it, to whom, and which account was named.
type Done<'a> = (
    i64,
    &'a str,
    Option<uuid::Uuid>,
    Option<uuid::Uuid>,
    Option<&'a str>,
);

/// Adds such rows.
async fn add_rows(db: &s::Database, rows: &[Done<'_>]) {
    let rows: Vec<s::AuditRow> = rows
        .iter()
        .map(|(second, event, user_id, target_id, account)| s::AuditRow {
            event: (*event).to_owned(),
            outcome: "success".to_owned(),
            user_id: user_id.map(|id| id.to_string()),
            target_id: target_id.map(|id| id.to_string()),
            account: account.map(str::to_owned),
            ..row(*second)
        })
        .collect();
    let mut transaction = db.begin().await.unwrap();
    s::add_audit_rows(&mut transaction, &rows).await.unwrap();
    transaction.commit().await.unwrap();
}

fn seconds(rows: &[s::AuditRow]) -> Vec<i64> {
    rows.iter()
        .map(|row| (row.at.as_millis() - at(0).as_millis()) / 1000)
        .collect()
}

on_both_engines! {
    async fn rows_are_searched_by_time_event_and_user_in_pages(db) {
        let (ada, root) = (s::new_id(at(0)), s::new_id(at(0)));
        add_rows(&db.database, &[
            (1, "login_success", Some(ada), None, Some("mac-ada")),
            (2, "login_failure", None, None, Some("mac-ada")),
            (3, "admin_user_viewed", Some(root), Some(ada), None),
            (3, "login_success", Some(root), None, Some("mac-root")),
            (4, "rate_limited", None, None, None),
        ]).await;
        let mut on = db.read().await.unwrap();
        let all = s::AuditFilter { since: at(0), until: at(9), event: None, whose: None };
        let whose = |user_id, account| s::AuditFilter { whose: Some(s::AuditSubject { user_id, account, former_account: None }), ..all };
        let renamed = s::AuditSubject { user_id: None, account: Some("new mac-ada"), former_account: Some("mac-ada") };
        let renamed = s::AuditFilter { whose: Some(renamed), ..all };
        for (filter, expected) in [
            (all, vec![4, 3, 3, 2, 1]),
            (s::AuditFilter { since: at(2), until: at(3), ..all }, vec![3, 3, 2]),
            (s::AuditFilter { event: Some("login_success"), ..all }, vec![3, 1]),
            (whose(Some(ada), None), vec![3, 1]),
            (whose(Some(ada), Some("mac-ada")), vec![3, 2, 1]),
            (whose(None, Some("mac-ada")), vec![3, 2, 1]),
            (renamed, vec![3, 2, 1]),
            (whose(None, None), vec![]),
        ] {
            let rows = s::search_audit_rows(&mut on, &filter, None, 9).await.unwrap();
            assert_eq!(seconds(&rows), expected);
        }
        let first = s::search_audit_rows(&mut on, &all, None, 2).await.unwrap();
        let rest = s::search_audit_rows(&mut on, &all, Some((first[1].at, first[1].id)), 9).await.unwrap();
        assert_eq!((seconds(&first), seconds(&rest)), (vec![4, 3], vec![3, 2, 1]));
    }
}

on_both_engines! {
    async fn a_user_has_the_rows_that_he_did_and_that_were_done_to_him(db) {
        let (ada, root) = (s::new_id(at(0)), s::new_id(at(0)));
        add_rows(&db.database, &[
            (1, "login_success", Some(ada), None, None),
            (2, "login_success", Some(root), None, None),
            (3, "admin_user_viewed", Some(root), Some(ada), None),
            (4, "admin_role_changed", Some(root), Some(ada), None),
            (5, "admin_role_changed", Some(ada), Some(ada), None),
            (6, "admin_user_deactivated", None, Some(ada), None),
        ]).await;
        let mut on = db.read().await.unwrap();
        let rows = s::audit_rows_of_user(&mut on, ada, "admin_user_viewed", None, 9).await.unwrap();
        assert_eq!(seconds(&rows), [6, 5, 4, 1]);
        let rows = s::audit_rows_of_user(&mut on, ada, "admin_user_viewed", Some((rows[1].at, rows[1].id)), 1).await.unwrap();
        assert_eq!(seconds(&rows), [4]);
    }
}
