//! `ENVIRONMENT`, the listener, shutdown, logs, and what belongs to no room alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Environment;
use super::error::printable;
use super::reader::Reader;
use super::source::Source;
use crate::telemetry;

/// How the server ends after SIGTERM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownSettings {
    /// `SHUTDOWN_DELAY_SECONDS`: not ready, but still accepting.
    pub delay: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`: then, the time for what is in flight.
    pub grace: Duration,
}

pub(super) fn environment(reader: &mut Reader<'_>) -> Environment {
    let show = |environment: &Environment| environment.name().to_owned();
    reader.value("ENVIRONMENT", Environment::Development, show, |text| {
        Environment::ALL
            .into_iter()
            .find(|environment| environment.name() == text)
            .ok_or_else(|| {
                format!(
                    "`{}` is none of development, test, staging, production",
                    printable(text)
                )
            })
    })
}

pub(super) fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let host = reader.value(
        "HOST",
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::to_string,
        |text| {
            let bare = text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(text);
            if bare == "localhost" {
                return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
            bare.parse().map_err(|_| {
                format!(
                    "`{}` is no IP address; 0.0.0.0 or :: listens on all of them",
                    printable(text)
                )
            })
        },
    );
    let port = reader.whole("PORT", 8000, 0..=u16::MAX);
    if !host.to_canonical().is_loopback() && reader.source.get("ENVIRONMENT").is_none() {
        reader.refuse(
            "HOST",
            format!("{host} can be reached from other machines: set ENVIRONMENT first, so that no server goes out with a developer's settings"),
        );
    }
    SocketAddr::new(host, port)
}

/// Where Prometheus finds the metrics, if anywhere.
pub(super) fn metrics(reader: &mut Reader<'_>, listen: SocketAddr) -> Option<SocketAddr> {
    let address = reader.optional("METRICS_ADDR", SocketAddr::to_string, |text| {
        text.parse().map_err(|_| {
            format!(
                "`{}` is no address and port such as 127.0.0.1:9090",
                printable(text)
            )
        })
    })?;
    if address == listen && address.port() != 0 {
        reader.refuse(
            "METRICS_ADDR",
            format!("{address} is HOST and PORT: metrics have a listener of their own, which the public never reaches"),
        );
    }
    if !address.ip().to_canonical().is_loopback() && reader.source.get("ENVIRONMENT").is_none() {
        reader.refuse(
            "METRICS_ADDR",
            format!("{address} can be reached from other machines: set ENVIRONMENT first"),
        );
    }
    Some(address)
}

pub(super) fn shutdown(reader: &mut Reader<'_>, environment: Environment) -> ShutdownSettings {
    let delay = if environment.is_lenient() { 0 } else { 3 };
    ShutdownSettings {
        delay: Duration::from_secs(reader.whole("SHUTDOWN_DELAY_SECONDS", delay, 0..=600)),
        grace: Duration::from_secs(reader.whole("SHUTDOWN_GRACE_SECONDS", 25, 0..=3600)),
    }
}

/// Read once here, so that three rooms do not find the same fault at three moments.
pub(super) fn tls_ca_file(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let source = reader.source;
    reader.optional(
        "TLS_CA_FILE",
        |path: &PathBuf| path.display().to_string(),
        |text| certificate_file(source, text),
    )
}

/// The path of a file that holds certificates.
pub(super) fn certificate_file(source: &Source, text: &str) -> Result<PathBuf, String> {
    let path = source.path(text);
    let pem = std::fs::read_to_string(&path)
        .map_err(|error| format!("`{}` cannot be read: {}", printable(text), error.kind()))?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(format!("`{}` holds no certificate in PEM", printable(text)));
    }
    Ok(path)
}

pub(super) fn telemetry(reader: &mut Reader<'_>, environment: Environment) -> telemetry::Settings {
    let format = if environment == Environment::Development {
        telemetry::Format::Text
    } else {
        telemetry::Format::Json
    };
    let show = |format: &telemetry::Format| match format {
        telemetry::Format::Text => "text".to_owned(),
        telemetry::Format::Json => "json".to_owned(),
    };
    let format = reader.value("LOG_FORMAT", format, show, |text| match text {
        "text" => Ok(telemetry::Format::Text),
        "json" => Ok(telemetry::Format::Json),
        _ => Err(format!("`{}` is neither text nor json", printable(text))),
    });
    let filter = reader.value(
        "RUST_LOG",
        telemetry::Filter::default(),
        ToString::to_string,
        |text| {
            text.parse()
                .map_err(|error: telemetry::FilterError| format!("`{}` {error}", printable(text)))
        },
    );
    telemetry::Settings { format, filter }
}
