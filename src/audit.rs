//! Security events: one log line and one row of `audit_log` each (contract, section 5).
