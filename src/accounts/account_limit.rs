//! The limit on failed logins of one account.
