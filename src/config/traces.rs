//! The OpenTelemetry collector, by the standard's own variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::dsn;
use super::error::printable;
use super::reader::Reader;
use crate::telemetry::traces::{Sampling, Settings};

/// Where one endpoint serves every signal, traces have this path on it.
const TRACES_PATH: &str = "/v1/traces";

const SAMPLERS: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio";

/// `None` where no collector is named.
pub(super) fn read(reader: &mut Reader<'_>, tls_ca_file: Option<PathBuf>) -> Option<Settings> {
    let base = endpoint(reader, "OTEL_EXPORTER_OTLP_ENDPOINT");
    let of_traces = endpoint(reader, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let headers = pairs(reader, "OTEL_EXPORTER_OTLP_HEADERS");
    let usable = |(name, value): &(String, String)| {
        http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok()
    };
    if !headers.iter().all(usable) {
        reader.refuse("OTEL_EXPORTER_OTLP_HEADERS", "holds what cannot be a header");
    }
    let service_name = reader.value("OTEL_SERVICE_NAME", "stile".to_owned(), String::clone, |text| {
        Ok(text.to_owned())
    });
    let resource = pairs(reader, "OTEL_RESOURCE_ATTRIBUTES");
    let sampling = sampling(reader);

    let endpoint = of_traces.or_else(|| {
        base.map(|mut url| {
            let path = format!("{}{TRACES_PATH}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            url
        })
    })?;
    let headers = headers.into_iter();
    Some(Settings {
        endpoint: SecretString::from(String::from(endpoint)),
        headers: headers
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect(),
        service_name,
        resource,
        sampling,
        tls_ca_file,
    })
}

fn endpoint(reader: &mut Reader<'_>, name: &'static str) -> Option<Url> {
    reader.optional(name, dsn::shown, |text| {
        let url = dsn::parse_with_host(text, &["http", "https"])?;
        if url.username().is_empty() && url.password().is_none() {
            Ok(url)
        } else {
            Err("holds a login; put it into OTEL_EXPORTER_OTLP_HEADERS".to_owned())
        }
    })
}

/// `key=value` with commas between them, values percent-encoded.
fn pairs(reader: &mut Reader<'_>, name: &'static str) -> Vec<(String, String)> {
    let show = |pairs: &Vec<(String, String)>| {
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    };
    let pairs = reader.optional(name, show, |text| {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| {
                let (key, value) = item.split_once('=').unwrap_or_default();
                if key.trim().is_empty() {
                    return Err("is no list of key=value with commas between them".to_owned());
                }
                Ok((key.trim().to_owned(), decoded(value.trim())))
            })
            .collect()
    });
    pairs.unwrap_or_default()
}

/// A `+` stands for itself here (W3C Baggage, which the standard refers to).
fn decoded(value: &str) -> String {
    let escaped = value.replace('+', "%2B");
    let mut found = url::form_urlencoded::parse(escaped.as_bytes());
    found.next().map_or_else(String::new, |(key, rest)| {
        // An `=` in the value has parted it.
        if escaped.contains('=') {
            format!("{key}={rest}")
        } else {
            key.into_owned()
        }
    })
}

fn sampling(reader: &mut Reader<'_>) -> Sampling {
    let name = reader.value(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on".to_owned(),
        String::clone,
        |text| {
            let known = SAMPLERS.split(", ").any(|known| known == text);
            known
                .then(|| text.to_owned())
                .ok_or_else(|| format!("`{}` is none of {SAMPLERS}", printable(text)))
        },
    );
    let share = reader.value("OTEL_TRACES_SAMPLER_ARG", 1.0, f64::to_string, |text| {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| format!("`{}` is no share from 0 to 1", printable(text)))
    });
    let root = name.trim_start_matches("parentbased_");
    Sampling {
        parent_based: root.len() < name.len(),
        share: match root {
            "always_off" => 0.0,
            "traceidratio" => share,
            _ => 1.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_percent_decoded_and_nothing_else_is_changed() {
        for (written, read) in [
            ("Basic%20dTpw", "Basic dTpw"),
            ("a+b", "a+b"),
            ("dTpwYQ==", "dTpwYQ=="),
            ("a=b=c", "a=b=c"),
            ("", ""),
            ("100%", "100%"),
        ] {
            assert_eq!(decoded(written), read, "{written}");
        }
    }
}
