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
        assert_eq!(s::sweep_audit_rows(&mut transaction, at(9)).await.unwrap(), 1);
        transaction.commit().await.unwrap();
        let rows = s::latest_audit_rows(&mut db.read().await.unwrap(), 10).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["register"]);
    }
}
