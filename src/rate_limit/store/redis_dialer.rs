//! How Redis is reached: addresses, certificates, timeouts; one server or a cluster.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo,
    PushKind, RedisError, RedisResult, TlsCertificates,
};
use secrecy::ExposeSecret;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use super::scripts::Scripts;
use super::{Connection, Failure, LATE, Line, Link, Names, takes};
use crate::rate_limit::{RedisSettings, StartError};

/// How to reach Redis: parsed addresses, certificates, timeouts.
#[derive(Debug)]
pub struct RedisStore {
    /// One for each set of authorities to try; a client holds one set.
    clients: Vec<Dialer>,
    connect_timeout: Duration,
    scripts: Arc<Scripts>,
    names: Arc<Names>,
}

enum Dialer {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl RedisStore {
    /// Reads addresses and certificates; connects to nothing. `process` is this process's number in the fleet.
    pub fn new(settings: &RedisSettings, prefix: &str, process: u64) -> Result<Self, StartError> {
        let nodes = settings
            .nodes
            .iter()
            .map(|node| parse(node.expose_secret()))
            .collect::<Result<Vec<_>, _>>()?;
        let tls = nodes
            .iter()
            .any(|node| matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. }));
        let own_authorities = match &settings.tls_ca_file {
            Some(path) if tls => Some(read_certificates(path)?),
            _ => None,
        };
        // A client trusts either the given authorities or the built-in ones, so there is one client for each.
        let authorities = match own_authorities {
            Some(pem) => vec![Some(pem), None],
            None => vec![None],
        };
        let clients = authorities
            .into_iter()
            .map(|pem| dialer(&nodes, pem, settings))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            clients,
            connect_timeout: settings.connect_timeout,
            scripts: Arc::new(Scripts::new()),
            names: Arc::new(Names {
                prefix: prefix.to_owned(),
                process: format!("p{process:016x}:"),
            }),
        })
    }

    /// Opens a connection and makes the scripts known. Bounded by the connect timeout.
    pub async fn connect(&self) -> Result<Link, Failure> {
        let mut failure = Failure::Timeout;
        for client in &self.clients {
            match tokio::time::timeout(self.connect_timeout, self.dial(client)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) if error.is_connection_refusal() => return Err(error.into()),
                Ok(Err(error)) => failure = error.into(),
                Err(_) => failure = Failure::Timeout,
            }
        }
        Err(failure)
    }

    async fn dial(&self, client: &Dialer) -> RedisResult<Link> {
        let gone = CancellationToken::new();
        let connection = match client {
            Dialer::Single(client) => {
                // Calls are bounded where they are made; a late answer is still wanted (`remote.rs`).
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.connect_timeout))
                    .set_response_timeout(None)
                    .set_push_sender(on_disconnect(gone.clone()));
                Connection::Single(
                    client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await?,
                )
            }
            Dialer::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        let mut line = Line {
            connection,
            takes: None,
            gone,
            scripts: self.scripts.clone(),
            names: self.names.clone(),
        };
        if matches!(line.connection, Connection::Single(_)) {
            let (takes, jobs) = unbounded_channel();
            tokio::spawn(takes::deliver(line.clone(), jobs));
            line.takes = Some(takes);
        }
        let scripts = &*self.scripts;
        for script in [
            &scripts.take,
            &scripts.peek,
            &scripts.void,
            &scripts.merge,
            &scripts.merge_exact,
            &scripts.refund,
            &scripts.clear,
        ] {
            line.send(redis::cmd("SCRIPT").arg("LOAD").arg(script.text))
                .await?;
        }
        Ok(Link(Arc::new(line)))
    }
}

fn parse(node: &str) -> Result<ConnectionInfo, StartError> {
    if !node.starts_with("redis://") && !node.starts_with("rediss://") {
        return Err(StartError::RedisUrl("it has to start with redis:// or rediss://"));
    }
    let info = node
        .into_connection_info()
        .map_err(|_| StartError::RedisUrl("it does not parse"))?;
    // Under RESP3 the client library tells of a connection that ends while nobody is asking.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
        .set_redis_settings(redis))
}

fn read_certificates(path: &Path) -> Result<Vec<u8>, StartError> {
    let pem = std::fs::read(path).map_err(|error| StartError::TlsCaFile(error.kind().to_string()))?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(mark.len()).any(|window| window == mark) {
        return Err(StartError::TlsCaFile("it holds no certificate".to_owned()));
    }
    Ok(pem)
}

fn dialer(
    nodes: &[ConnectionInfo],
    pem: Option<Vec<u8>>,
    settings: &RedisSettings,
) -> Result<Dialer, StartError> {
    let certificates = pem.map(|pem| TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    });
    let bad = |error: RedisError| match certificates {
        Some(_) => StartError::TlsCaFile("it holds no usable certificate".to_owned()),
        None if error.kind() == ErrorKind::InvalidClientConfig => {
            StartError::RedisUrl("its parts contradict each other")
        }
        None => StartError::RedisUrl("it cannot be used"),
    };
    if let [node] = nodes {
        let client = match &certificates {
            Some(certificates) => Client::build_with_tls(node.clone(), certificates.clone()),
            None => Client::open(node.clone()),
        };
        return client.map(|client| Dialer::Single(Box::new(client))).map_err(bad);
    }
    // No retries: a consume that may have run is never sent again.
    let mut builder = ClusterClient::builder(nodes.to_vec())
        .retries(0)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(LATE)
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    if let Some(certificates) = &certificates {
        builder = builder.certs(certificates.clone());
    }
    builder
        .build()
        .map(|client| Dialer::Cluster(Box::new(client)))
        .map_err(bad)
}

fn on_disconnect(
    gone: CancellationToken,
) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection {
            gone.cancel();
        }
        Ok(())
    }
}
