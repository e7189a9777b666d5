//! Names that later versions read. Known, so that a configuration made for them is no typing error; a value must
//! be good; and `check` says that it has no effect yet.

use super::Environment;
use super::reader::Reader;
use super::variable::variables;

/// The variables that are set and have no effect in this version.
pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Vec<&'static str> {
    test_endpoints(reader, environment);

    let set = |name: &str| reader.source.get(name).is_some();
    variables()
        .iter()
        .filter(|variable| variable.later && set(variable.name))
        .map(|variable| variable.name)
        .collect()
}

fn test_endpoints(reader: &mut Reader<'_>, environment: Environment) {
    let enabled = reader.flag("ENABLE_TEST_ENDPOINTS", false);
    let key = reader.optional("TEST_ENDPOINTS_KEY", String::clone, |text| {
        if text.len() < 16 {
            return Err("has fewer than 16 bytes".to_owned());
        }
        Ok(text.to_owned())
    });
    if enabled && environment.is_production() {
        reader.refuse(
            "ENABLE_TEST_ENDPOINTS",
            "never in production: they hand out everybody's mail",
        );
    }
    if enabled && environment == Environment::Staging && key.is_none() {
        reader.refuse(
            "TEST_ENDPOINTS_KEY",
            "staging needs it while ENABLE_TEST_ENDPOINTS=true",
        );
    }
}
