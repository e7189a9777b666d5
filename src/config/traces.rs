//! The OpenTelemetry collector, by the standard's own variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::dsn;
use super::error::printable;
use super::reader::{Reader, whole};
use super::server::certificate_file;
use crate::telemetry::traces::{Sampling, Settings};

/// Where one endpoint serves every signal, traces have this path on it.
const TRACES_PATH: &str = "/v1/traces";

/// Ten minutes: what is longer was meant in another unit.
const LONGEST_TIMEOUT_MS: u64 = 600_000;

const SAMPLERS: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio";

/// `None` where no collector is named, or nothing is to be sent to it.
pub(super) fn read(reader: &mut Reader<'_>, tls_ca_file: Option<PathBuf>) -> Option<Settings> {
    let base = endpoint(reader, "OTEL_EXPORTER_OTLP_ENDPOINT");
    let of_traces = endpoint(reader, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let endpoint = of_traces.or_else(|| {
        base.map(|mut url| {
            let path = format!("{}{TRACES_PATH}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            url
        })
    });
    let is_disabled = reader.flag("OTEL_SDK_DISABLED", false);
    let is_named = endpoint.is_some() && !is_disabled;
    let exporter = reader.value("OTEL_TRACES_EXPORTER", "otlp".to_owned(), String::clone, |text| {
        if matches!(text, "otlp" | "none") || !is_named {
            return Ok(text.to_owned());
        }
        Err(format!("`{}` is neither otlp nor none", printable(text)))
    });
    let endpoint = endpoint.filter(|_| is_named && exporter != "none");
    let may_leave = endpoint.is_some();
    only(
        reader,
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "http/protobuf",
        may_leave,
    );
    only(
        reader,
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "none",
        may_leave,
    );
    let timeout = timeout(reader, may_leave);
    let certificates = certificates(reader, may_leave).or(tls_ca_file);
    let of_all = headers(reader, "OTEL_EXPORTER_OTLP_HEADERS");
    let headers = headers(reader, "OTEL_EXPORTER_OTLP_TRACES_HEADERS").or(of_all);
    let show = |pairs: &Vec<(String, String)>| {
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    };
    let resource = reader.optional("OTEL_RESOURCE_ATTRIBUTES", show, pairs);
    let resource = resource.unwrap_or_default();
    let of_resource = resource.iter().find(|(key, _)| key == "service.name");
    let name = of_resource.map_or_else(|| "stile".to_owned(), |(_, name)| name.clone());
    let service_name = reader.value("OTEL_SERVICE_NAME", name, String::clone, |text| {
        Ok(text.to_owned())
    });
    let sampling = sampling(reader);
    Some(Settings {
        endpoint: SecretString::from(String::from(endpoint?)),
        headers: headers.unwrap_or_default(),
        service_name,
        resource,
        sampling,
        timeout,
        certificates,
    })
}

/// A choice of the standard's that has one value here. Another one is refused where traces would leave; elsewhere it
/// is meant for other programs. As in the standard, what is said of traces alone goes before what is said of all.
fn only(
    reader: &mut Reader<'_>,
    of_all: &'static str,
    of_traces: &'static str,
    ours: &'static str,
    may_leave: bool,
) {
    let is_said_of_traces = reader.text(of_traces).is_some();
    for (name, holds) in [(of_traces, may_leave), (of_all, may_leave && !is_said_of_traces)] {
        reader.value(name, ours.to_owned(), String::clone, |text| {
            if text == ours || !holds {
                return Ok(text.to_owned());
            }
            let advice = format!("for this program's traces set {of_traces}={ours}");
            Err(format!("`{}` is not supported; {advice}", printable(text)))
        });
    }
}

/// Milliseconds, as in the standard. Like the protocol, it may be meant for other programs where nothing leaves.
fn timeout(reader: &mut Reader<'_>, may_leave: bool) -> Duration {
    let mut millis = |name, default| {
        reader.value(name, default, u64::to_string, |text| {
            if may_leave {
                whole(text, &(1..=LONGEST_TIMEOUT_MS))
            } else {
                Ok(default)
            }
        })
    };
    let of_all = millis("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
    Duration::from_millis(millis("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", of_all))
}

/// Authorities for the collector alone, in the place of `TLS_CA_FILE`.
fn certificates(reader: &mut Reader<'_>, may_leave: bool) -> Option<PathBuf> {
    let source = reader.source;
    let mut file = |name| {
        let show = |path: &PathBuf| path.display().to_string();
        reader.optional(name, show, |text| {
            if may_leave {
                certificate_file(source, text)
            } else {
                Ok(source.path(text))
            }
        })
    };
    let of_all = file("OTEL_EXPORTER_OTLP_CERTIFICATE");
    file("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE").or(of_all)
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

/// Headers in the form of [`pairs`], each marked as a secret.
fn headers(reader: &mut Reader<'_>, name: &'static str) -> Option<HeaderMap> {
    // Never shown: the table of variables calls it a secret.
    reader.optional(
        name,
        |_| String::new(),
        |text| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs(text)? {
                let unusable = || "holds what cannot be a header".to_owned();
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
                let mut value = HeaderValue::from_str(&value).map_err(|_| unusable())?;
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Ok(headers)
        },
    )
}

/// `key=value` with commas between them, values percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (key, value) = item.split_once('=').unwrap_or_default();
            if key.trim().is_empty() {
                return Err("is no list of key=value with commas between them".to_owned());
            }
            let value = percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| "holds percent-encoded bytes that are no UTF-8".to_owned())?;
            Ok((key.trim().to_owned(), value.into_owned()))
        })
        .collect()
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
            ("a&b", "a&b"),
            ("dTpwYQ==", "dTpwYQ=="),
            ("a=b=c", "a=b=c"),
            ("a%2Cb%3dc", "a,b=c"),
            ("", ""),
            ("100%", "100%"),
        ] {
            let expected = Ok(vec![("key".to_owned(), read.to_owned())]);
            assert_eq!(pairs(&format!("key={written}")), expected, "{written}");
        }
    }
}
