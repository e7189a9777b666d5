//! Who is asking: the client's address behind trusted proxies (contract, section 4).
//!
//! Only `X-Forwarded-For` is read, and only when the peer itself is a trusted proxy. The list is
//! walked from the right, because each proxy appends the address it saw: everything to the left of
//! the first untrusted address is the client's own claim.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// The address limits count, and whether it may be matched with the allow list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client, `::ffff:a.b.c.d` already turned into `a.b.c.d`.
    pub ip: IpAddr,
    /// True unless the address is one that the client could have written himself.
    pub proven: bool,
    /// Peer, proxies and client are all on this machine.
    pub is_local: bool,
}

/// The one header that is read.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether `ip` is one of the trusted proxies. `ip` is canonical: no `::ffff:a.b.c.d`.
#[must_use]
pub fn holds(trusted: &[IpNet], ip: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// Notices a peer that speaks for others and is not believed: most often the product's own proxy, forgotten in
/// `TRUSTED_PROXIES`, so that everybody behind it shares one limit.
///
/// One line for the life of the process, whoever sends the header: anybody can, and must not fill the log with it.
#[derive(Debug, Default)]
pub struct Unbelieved(AtomicBool);

impl Unbelieved {
    /// A request of `peer`, which is canonical, with these headers.
    pub fn notice(&self, peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) {
        if holds(trusted, peer)
            || !headers.contains_key(FORWARDED_FOR)
            || self.0.swap(true, Ordering::Relaxed)
        {
            return;
        }
        // The header's text is its sender's and stays out of the log. To set the variable is to replace its default, so
        // the line carries what is trusted already.
        let line: Vec<String> = trusted
            .iter()
            .map(ToString::to_string)
            .chain([peer.to_string()])
            .collect();
        tracing::warn!(
            %peer,
            to_believe_it = format!("TRUSTED_PROXIES={}", line.join(",")),
            "X-Forwarded-For came from an address that is not in TRUSTED_PROXIES, and was not believed: if it is your \
             proxy, all its clients share one limit; if it is a client, all is well; said once"
        );
    }
}

/// Finds the client of a request that arrived from `peer`, which is canonical.
#[must_use]
pub fn resolve(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let is_trusted = |ip: &IpAddr| holds(trusted, *ip);
    if !is_trusted(&peer) || !headers.contains_key(FORWARDED_FOR) {
        return ClientAddress {
            ip: peer,
            proven: true,
            is_local: peer.is_loopback(),
        };
    }
    // All lines are one list (RFC 9110, section 5.3), the last line being the rightmost part.
    let lines: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let entries = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut leftmost_trusted = peer;
    // One hop elsewhere, and what stands to the left of it may be anybody's invention.
    let mut is_local = peer.is_loopback();
    for entry in entries {
        let Some(ip) = parse_entry(entry) else {
            return ClientAddress {
                ip: leftmost_trusted,
                proven: false,
                is_local: false,
            };
        };
        is_local &= ip.is_loopback();
        if !is_trusted(&ip) {
            return ClientAddress {
                ip,
                proven: true,
                is_local,
            };
        }
        leftmost_trusted = ip;
    }
    ClientAddress {
        ip: leftmost_trusted,
        proven: false,
        is_local,
    }
}

/// One entry: an address, with or without a port, brackets and an IPv6 zone.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    // The longest sensible entry is a bracketed IPv6 address with a zone and a port.
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    if text.len() > 100 {
        return None;
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inner = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']')?;
            if !(port.is_empty()
                || port
                    .strip_prefix(':')
                    .is_some_and(|port| port.parse::<u16>().is_ok()))
            {
                return None;
            }
            inner
        }
        None => text,
    };
    let address = match inner.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address,
        Some(_) => return None,
        None => inner,
    };
    let v6 = address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(IpAddr::V6(v6).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1";

    fn parsed(peer: &str) -> IpAddr {
        peer.parse::<IpAddr>().unwrap().to_canonical()
    }

    fn find(peer: &str, lines: &[&str], trusted: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                "x-forwarded-for",
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let found = resolve(parsed(peer), &headers, &trusted);
        (found.ip.to_string(), found.proven)
    }

    fn client(lines: &[&str]) -> String {
        find(LOOPBACK, lines, &["127.0.0.0/8", "10.0.0.0/8"]).0
    }

    /// limits.md 20, RL-02.
    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        assert_eq!(
            find("203.0.113.9", &["1.2.3.4"], &["127.0.0.0/8"]),
            ("203.0.113.9".into(), true)
        );
        assert_eq!(find(LOOPBACK, &["1.2.3.4"], &[]), (LOOPBACK.into(), true));
    }

    /// limits.md 21, RL-03.
    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        assert_eq!(client(&["6.6.6.6, 9.9.9.9"]), "9.9.9.9");
        assert_eq!(client(&["6.6.6.6, 9.9.9.9, 10.1.2.3"]), "9.9.9.9");
        assert_eq!(client(&["6.6.6.6", "9.9.9.9", "10.1.2.3"]), "9.9.9.9");
    }

    /// limits.md 22 and 49.
    #[test]
    fn when_all_are_trusted_the_leftmost_is_the_client_but_proves_nothing() {
        let all_trusted = find(LOOPBACK, &["10.0.0.5, 10.0.0.6"], &["127.0.0.0/8", "10.0.0.0/8"]);
        assert_eq!(all_trusted, ("10.0.0.5".into(), false));
    }

    #[test]
    fn a_trusted_peer_without_the_header_is_the_client_itself() {
        assert_eq!(find(LOOPBACK, &[], &["127.0.0.0/8"]), (LOOPBACK.into(), true));
    }

    #[test]
    fn an_unreadable_entry_stops_the_walk_at_the_hop_to_its_right() {
        for garbage in [
            "unknown",
            "",
            "1.2.3.4:99999",
            "01.2.3.4",
            "1.2.3",
            "[::1",
            "fe80::1%",
            "\u{e9}",
        ] {
            let with_hop = format!("1.1.1.1, {garbage}, 10.0.0.6");
            assert_eq!(client(&[&with_hop]), "10.0.0.6", "{garbage:?}");
            let without = format!("1.1.1.1, {garbage}");
            assert_eq!(client(&[&without]), LOOPBACK, "{garbage:?}");
        }
        let stopped = find(LOOPBACK, &["x"], &["127.0.0.0/8"]);
        assert!(!stopped.1, "an address reached through garbage is not proven");
    }

    /// limits.md 23.
    #[test]
    fn ports_brackets_zones_and_mapped_addresses_are_understood() {
        for (entry, expected) in [
            ("9.9.9.9:443", "9.9.9.9"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:80", "fe80::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
        ] {
            assert_eq!(client(&[entry]), expected, "{entry}");
        }
        assert_eq!(
            find("::ffff:127.0.0.1", &["9.9.9.9"], &["127.0.0.0/8"]).0,
            "9.9.9.9"
        );
    }

    /// limits.md 25.
    #[test]
    fn no_other_header_is_read() {
        let mut headers = HeaderMap::new();
        let names = [
            "x-real-ip",
            "forwarded",
            "cf-connecting-ip",
            "true-client-ip",
            "x_forwarded_for",
        ];
        for name in names {
            headers.insert(name, HeaderValue::from_static("1.2.3.4"));
        }
        let peer = parsed(LOOPBACK);
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        assert_eq!(resolve(peer, &headers, &trusted).ip, peer);
    }

    #[test]
    fn the_header_of_a_peer_that_is_not_believed_is_noticed_once() {
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let noticed = |unbelieved: &Unbelieved| unbelieved.0.load(Ordering::Relaxed);
        let unbelieved = Unbelieved::default();
        let stranger = parsed("203.0.113.9");
        unbelieved.notice(stranger, &headers, &trusted);
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.2.3.4"));
        unbelieved.notice(parsed("::ffff:127.0.0.1"), &headers, &trusted);
        assert!(!noticed(&unbelieved));
        unbelieved.notice(stranger, &headers, &trusted);
        assert!(noticed(&unbelieved));
    }

    /// Contract, section 6: whose own address is loopback.
    #[test]
    fn a_request_is_local_if_every_hop_is() {
        let is_local = |peer: &str, lines: &[&str], trusted: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
            resolve(parsed(peer), &headers, &trusted).is_local
        };
        let usual = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"];
        for peer in [LOOPBACK, "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local(peer, &[], &usual), "{peer}");
            assert!(is_local(peer, &["127.0.0.1"], &usual), "{peer}");
            assert!(is_local(peer, &["::1, 127.0.0.1:80"], &usual), "{peer}");
        }
        for forwarded in [
            "203.0.113.9",
            "10.0.0.5",
            "127.0.0.1, 203.0.113.9",
            "127.0.0.1, 10.0.0.5",
            "127.0.0.1, x",
            "x",
            "",
        ] {
            assert!(!is_local(LOOPBACK, &[forwarded], &usual), "{forwarded}");
        }
        assert!(!is_local("10.0.0.5", &[], &usual));
        assert!(!is_local("10.0.0.5", &["127.0.0.1"], &usual));
        assert!(!is_local("203.0.113.9", &["127.0.0.1"], &usual));
        assert!(!is_local("203.0.113.9", &["127.0.0.1"], &["0.0.0.0/0"]));
        assert!(is_local("127.0.0.1", &["203.0.113.9"], &[]), "not believed");
    }

    /// limits.md 26. That a request has a peer's address is a matter of types: the listener hands it over with the stream.
    #[test]
    fn a_long_list_of_proxies_is_walked_to_its_end() {
        let hops = vec!["10.0.0.1"; 500].join(", ");
        assert_eq!(client(&[&hops]), "10.0.0.1");
    }
}
