//! Traces: spans of requests and of what they wait for, handed to an OpenTelemetry collector by OTLP (HTTP, protobuf).
//!
//! Rooms make spans by `span!`; without a collector nobody listens and a span costs a look at a flag. A span says what was
//! done and how it ended, never to whom: no token, e-mail address, password or text of a user's is an attribute. Batches leave
//! from a thread of their own; what does not fit into the queue is dropped.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider,
    ShouldSample, SpanData, SpanExporter,
};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::collector::Collector;

/// The target of every span that is handed on, and of nothing else.
pub const TARGET: &str = "stile::trace";

/// Spans that wait for the next batch. What comes on top is dropped.
const QUEUE: usize = 8192;
/// Spans in a batch.
const BATCH: usize = 512;
/// How often a batch leaves that is not full.
const EVERY: Duration = Duration::from_secs(1);
/// The longest that the last batch may take at the end of the process.
pub const GOODBYE: Duration = Duration::from_secs(3);

/// What `config` hands this room, where a collector is named.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where batches are posted: `http://collector:4318/v1/traces`. Secret: its query can carry a key.
    pub endpoint: SecretString,
    /// `OTEL_EXPORTER_OTLP_HEADERS` or those of traces alone, with each batch.
    pub headers: HeaderMap,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: String,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// `OTEL_TRACES_SAMPLER` and its argument.
    pub sampling: Sampling,
    /// The longest that one batch may take (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// Authorities trusted besides the built-in roots (`OTEL_EXPORTER_OTLP_CERTIFICATE`, else `TLS_CA_FILE`).
    pub certificates: Option<PathBuf>,
}

/// Which requests are traced.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// What a trusted caller decided for its trace holds here too.
    pub parent_based: bool,
    /// The share of the others, 0 to 1.
    pub share: f64,
}

impl Default for Sampling {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self {
            parent_based: true,
            share: 1.0,
        }
    }
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct StartError(String);

/// A span for whoever reads traces: `span!("password.verify")`, with fields as in [`tracing::info_span!`].
macro_rules! span {
    ($($name_and_fields:tt)*) => {
        ::tracing::info_span!(target: $crate::telemetry::traces::TARGET, $($name_and_fields)*)
    };
}
pub(crate) use span;

/// What hands spans on. Dropping it loses what has not left; see [`Traces::finish`].
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Prepares handing on. The collector needs not be there. To be called on the program's runtime.
    pub fn new(settings: &Settings) -> Result<Self, StartError> {
        let certificates = settings.certificates.as_deref();
        let collector = Collector::new(certificates, settings.headers.clone(), settings.timeout);
        let collector = collector.map_err(StartError)?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(settings.endpoint.expose_secret())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .build()
            // The text could repeat the endpoint.
            .map_err(|_| StartError("the endpoint is not usable".to_owned()))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(Telling {
            exporter,
            failing: Arc::default(),
        })
        .with_batch_config(batches)
        .build();
        let attributes = settings.resource.iter();
        let attributes = attributes.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(attributes)
            .with_service_name(settings.service_name.clone())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(OfRequests(settings.sampling.sampler()))
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        Ok(Self(provider))
    }

    /// What listens to the rooms' spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("stile"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.with_max_level_hint(LevelFilter::INFO))
    }

    /// Hands on what is left, for a few seconds at most.
    pub async fn finish(self) {
        let finishing = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(GOODBYE));
        // What is lost now was told of when the collector was lost.
        let _ = tokio::time::timeout(GOODBYE, finishing).await;
    }
}

impl Sampling {
    fn sampler(self) -> Sampler {
        let root = if self.share >= 1.0 {
            Sampler::AlwaysOn
        } else if self.share <= 0.0 {
            Sampler::AlwaysOff
        } else {
            Sampler::TraceIdRatioBased(self.share)
        };
        if self.parent_based {
            Sampler::ParentBased(Box::new(root))
        } else {
            root
        }
    }
}

/// Drops what belongs to no request and no mail: a queue that is looked at every second is no trace.
#[derive(Clone, Debug)]
struct OfRequests(Sampler);

impl ShouldSample for OfRequests {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        if !has_parent && !matches!(kind, SpanKind::Server | SpanKind::Consumer) {
            return SamplingResult {
                decision: SamplingDecision::Drop,
                attributes: Vec::new(),
                trace_state: TraceState::default(),
            };
        }
        self.0.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// Says once that the collector is lost, and once that it is back.
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter's own would show the headers.
        f.write_str("Telling")
    }
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(reason) if !was_failing => {
                tracing::warn!(%reason, "the OpenTelemetry collector takes no traces; they are dropped until it does");
            }
            Ok(()) if was_failing => tracing::info!("the OpenTelemetry collector takes traces again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The trace that a caller began, as he writes it down (W3C Trace Context).
#[derive(Clone, Copy, Debug)]
pub struct Began<'a> {
    /// `traceparent`.
    pub traceparent: &'a str,
    /// `tracestate`, if any.
    pub tracestate: Option<&'a str>,
}

impl Began<'_> {
    /// Makes `span` a part of it. What is not well formed begins a trace of its own.
    pub fn goes_on_in(&self, span: &Span) {
        let context = TraceContextPropagator::new().extract(self);
        // Without a listener there is nothing to be a part of.
        let _ = span.set_parent(context);
    }
}

impl Extractor for Began<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}
