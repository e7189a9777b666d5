//! The client that is counted, and how it stands in keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fleet::stable_hash;

/// A counted client: an IPv4 address, or an IPv6 network of the configured length; or a worker of an E2E suite.
///
/// Prints as it stands in keys: `127.0.0.1`, `2001:db8:1:2::/64`, `@worker-7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    V4([u8; 4]),
    V6([u8; 16], u8),
    /// A name in ASCII, filled up with zeros.
    Worker([u8; MOST_NAME]),
    Unknown,
}

/// Longest name of a worker that stands in keys as it is, in bytes: what fits without making every key larger.
const MOST_NAME: usize = 22;

/// In one write, where the derived one makes four: a client is hashed for each decision.
impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::V4(octets) => state.write_u64(u64::from(u32::from_be_bytes(*octets))),
            Self::V6(octets, prefix) => {
                state.write_u128(u128::from_be_bytes(*octets));
                state.write_u8(*prefix);
            }
            Self::Worker(name) => state.write(name),
            Self::Unknown => state.write_u64(u64::MAX),
        }
    }
}

impl Client {
    /// The client behind `address`. An IPv4-mapped address (`::ffff:1.2.3.4`) is the IPv4 one, so that a dual-stack
    /// listener does not count all of them as one network.
    #[must_use]
    pub fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(Kind::V4(address.octets())),
            IpAddr::V6(address) => {
                let prefix = ipv6_prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                Self(Kind::V6(network.octets(), prefix))
            }
        }
    }

    /// A worker of an E2E suite, wherever its requests come from. Of a name that is long, or not made of letters, digits
    /// and `-_.`, the key shows the start and a digest, which no plain name can look like.
    #[must_use]
    pub fn worker(name: &[u8]) -> Self {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let mut shown: Vec<u8> = name.iter().copied().filter(is_plain).collect();
        if shown.len() < name.len() || shown.len() > MOST_NAME {
            shown.truncate(MOST_NAME - 17);
            shown.extend(format!("~{:016x}", stable_hash(name.iter().copied())).bytes());
        }
        Self::named(&shown)
    }

    fn named(shown: &[u8]) -> Self {
        let mut name = [0; MOST_NAME];
        for (place, byte) in name.iter_mut().zip(shown) {
            *place = *byte;
        }
        Self(Kind::Worker(name))
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "unknown" {
            return Some(Self::unknown());
        }
        if let Some(worker) = name.strip_prefix('@') {
            let is_shown = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            let fits = (1..=MOST_NAME).contains(&worker.len()) && worker.bytes().all(is_shown);
            return fits.then(|| Self::named(worker.as_bytes()));
        }
        match name.split_once('/') {
            None => Some(Self(Kind::V4(name.parse::<Ipv4Addr>().ok()?.octets()))),
            Some((address, prefix)) => {
                let client = Self::of(IpAddr::V6(address.parse().ok()?), prefix.parse().ok()?);
                (client.to_string() == name).then_some(client)
            }
        }
    }

    /// The one client of all requests that come without a peer address.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(Kind::Unknown)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // Many times as fast as that of `Ipv4Addr`, which pads; each key in Redis is written with it.
            Kind::V4([first, rest @ ..]) => {
                let mut digits = itoa::Buffer::new();
                f.write_str(digits.format(first))?;
                rest.iter().try_for_each(|octet| {
                    f.write_str(".")?;
                    f.write_str(digits.format(*octet))
                })
            }
            Kind::V6(octets, prefix) => write!(f, "{}/{prefix}", Ipv6Addr::from(octets)),
            Kind::Worker(name) => {
                let shown = str::from_utf8(&name).unwrap_or_default();
                write!(f, "@{}", shown.trim_end_matches('\0'))
            }
            Kind::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> String {
        Client::of(text.parse().unwrap(), 64).to_string()
    }

    /// limits.md 23, 24.
    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(client("1.2.3.4"), "1.2.3.4");
        assert_eq!(client("::ffff:1.2.3.4"), "1.2.3.4");
        assert_eq!(client("::ffff:102:304"), "1.2.3.4");
        assert_ne!(client("::ffff:1.2.3.4"), client("::ffff:1.2.3.5"));
        assert_eq!(client("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(client("2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::/64");
        assert_eq!(client("2001:db8:1:3::1"), "2001:db8:1:3::/64");
        assert_eq!(
            Client::of("2001:db8::1".parse().unwrap(), 128).to_string(),
            "2001:db8::1/128"
        );
        assert_eq!(
            Client::of("2001:db8::1".parse().unwrap(), 32).to_string(),
            "2001:db8::/32"
        );
        assert_eq!(Client::unknown().to_string(), "unknown");
    }

    #[test]
    fn a_worker_has_a_name_of_his_own_however_he_is_called() {
        let shown = |name: &str| Client::worker(name.as_bytes()).to_string();
        assert_eq!(shown("worker-7"), "@worker-7");
        assert_eq!(shown("chromium-worker-number"), "@chromium-worker-number");
        let mut seen = std::collections::HashSet::new();
        let long = "5f0c1d3e-0d0a-4b1c-9c5e-000000000000";
        for name in [
            "worker-7",
            "worker-8",
            "worker 7",
            "worker:7",
            "127.0.0.1",
            "unknown",
            "gw0",
            long,
            &long[1..],
            "é",
            "*",
        ] {
            let shown = shown(name);
            assert_eq!(
                Client::from_name(&shown),
                Some(Client::worker(name.as_bytes())),
                "{name}"
            );
            assert!(
                shown.len() <= 23 && !shown.contains([':', '/', '*', ' ']),
                "{shown}"
            );
            assert!(seen.insert(shown), "{name}");
        }
        assert_ne!(
            Client::worker(b"127.0.0.1"),
            Client::of("127.0.0.1".parse().unwrap(), 64)
        );
    }
}
