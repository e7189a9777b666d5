//! The door for E2E suites.

use super::Environment;
use super::reader::Reader;
use crate::credentials::SharedKey;
use crate::http::{Life, TestEndpoints};

/// What `ENABLE_TEST_ENDPOINTS` and `TEST_ENDPOINTS_KEY` come to. [`Life::Production`] has no place for them.
pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Life {
    let enabled = reader.flag("ENABLE_TEST_ENDPOINTS", false);
    let hidden = |_: &SharedKey| "[redacted]".to_owned();
    let key = reader.optional("TEST_ENDPOINTS_KEY", hidden, |text| {
        SharedKey::new(text).map_err(|error| error.to_string())
    });
    if environment.is_production() {
        if enabled {
            reader.refuse(
                "ENABLE_TEST_ENDPOINTS",
                "never in production: they hand out everybody's mail and can empty the database",
            );
        }
        return Life::Production;
    }
    if enabled
        && environment == Environment::Staging
        && key.is_none()
        && !reader.refused("TEST_ENDPOINTS_KEY")
    {
        reader.refuse(
            "TEST_ENDPOINTS_KEY",
            "staging needs it while ENABLE_TEST_ENDPOINTS=true",
        );
    }
    Life::Rehearsal(enabled.then_some(TestEndpoints { key }))
}
