//! Limits, and the Redis that counts them.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;

use super::error::printable;
use super::reader::{Reader, whole};
use super::source::Origin;
use super::{Environment, dsn};
use crate::rate_limit::{Limit, RedisSettings, Rule, Rules, Settings};

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: Environment,
    tls_ca_file: Option<PathBuf>,
) -> Settings {
    let lenient = environment.is_lenient();
    let enabled = reader.flag("ENABLE_RATE_LIMITING", true);
    let mut rules = Rules::defaults(lenient);
    for rule in Rule::ALL {
        // A bad limit is a fault, never a rule without one: `Reader::finish` refuses the whole.
        let limit = reader.value(
            rule.variable(),
            rule.default_limit(lenient),
            Limit::to_string,
            |text| {
                text.parse::<Limit>()
                    .map_err(|error| format!("`{}` {error}", printable(text)))
            },
        );
        rules.set(rule, limit);
    }
    let learned = |size: &NonZeroU32| size.to_string();
    Settings {
        enabled,
        rules,
        redis: redis(reader, tls_ca_file),
        key_prefix: reader.value(
            "REDIS_KEY_PREFIX",
            "rate_limit".to_owned(),
            String::clone,
            |text| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
                if text.len() <= 64 && text.chars().all(plain) {
                    return Ok(text.to_owned());
                }
                Err(format!(
                    "`{}` is not made of up to 64 letters, digits and _ - . :",
                    printable(text)
                ))
            },
        ),
        fleet_size: reader.optional("RATE_LIMIT_FLEET_SIZE", learned, |text| {
            let size = whole(text, &(1..=100_000))?;
            Ok(NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN))
        }),
        memory_keys: NonZeroUsize::new(reader.whole("RATE_LIMIT_MEMORY_KEYS", 200_000, 1..=100_000_000))
            .unwrap_or(NonZeroUsize::MIN),
        ipv6_prefix: reader.whole("RATE_LIMIT_IPV6_PREFIX", 64, 32..=128),
        allowlist: reader.list("RATE_LIMIT_ALLOWLIST", Vec::new(), network),
    }
}

/// `RATE_LIMIT_BURST`. Its default is never the tighter of local stage and rules.
pub(super) fn burst(reader: &mut Reader<'_>, settings: &Settings) -> u32 {
    const MOST: u32 = 2_000_000_000;
    let largest = settings.rules.largest_client_count();
    let default = largest.saturating_mul(2).clamp(100, MOST);
    if reader.source.get("RATE_LIMIT_BURST").is_none() {
        reader.record("RATE_LIMIT_BURST", default.to_string(), Origin::Derived);
        return default;
    }
    reader.whole("RATE_LIMIT_BURST", default, 1..=MOST)
}

struct Node {
    url: SecretString,
    shown: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn redis(reader: &mut Reader<'_>, tls_ca_file: Option<PathBuf>) -> Option<RedisSettings> {
    let show = |nodes: &Vec<Node>| {
        nodes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let nodes = reader.optional("REDIS_URL", show, |text| {
        let several = text.contains(',');
        text.split(',').map(|url| node(url.trim(), several)).collect()
    });
    let millis = |reader: &mut Reader<'_>, name, default, most| {
        Duration::from_millis(reader.whole(name, default, 1..=most))
    };
    let connect_timeout = millis(reader, "REDIS_CONNECT_TIMEOUT_MS", 2000, 60_000);
    let command_timeout = millis(reader, "REDIS_COMMAND_TIMEOUT_MS", 50, 10_000);
    let health_check = Duration::from_secs(reader.whole("REDIS_HEALTH_CHECK_SECONDS", 30, 1..=3600));
    nodes.map(|nodes| RedisSettings {
        nodes: nodes.into_iter().map(|node| node.url).collect(),
        connect_timeout,
        command_timeout,
        health_check,
        tls_ca_file,
    })
}

fn node(text: &str, of_cluster: bool) -> Result<Node, String> {
    let url = dsn::parse_with_host(text, &["redis", "rediss"])?;
    let database = url.path().trim_start_matches('/');
    if !database.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a path that is no database number".to_owned());
    }
    if of_cluster && !matches!(database, "" | "0") {
        return Err("names several nodes, and a Redis Cluster has database 0 alone".to_owned());
    }
    Ok(Node {
        url: SecretString::from(text),
        shown: dsn::shown(&url),
    })
}

/// `10.0.0.0/8`, or an address alone.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network
        .map(|network| canonical(network).trunc())
        .map_err(|_| format!("`{}` is no network such as 10.0.0.0/8", printable(text)))
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: addresses are compared as what they are (RFC 4291, section 2.5.5.2), so that it
/// would never hold anybody.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpAddr::V4(address) = network.addr().to_canonical() else {
        return network;
    };
    let length = match network {
        IpNet::V4(_) => None,
        IpNet::V6(_) => network.prefix_len().checked_sub(MAPPED),
    };
    length
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_network_in_ipv6_writing_is_an_ipv4_network() {
        for (text, read) in [
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:a01:203/128", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            // More than IPv4 lies in it.
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::/0", "::/0"),
            ("::10.1.2.3", "::a01:203/128"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), read, "{text}");
        }
    }
}
