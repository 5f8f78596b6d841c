//! `[dns]` of the configuration.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

/// What an operator may set.
///
/// There is no list of root servers: recursive resolvers find the zones. In a closed network, let
/// `resolvers` name its own; a name server that knows all of the network's zones will do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of its gRPC API where it runs by itself.
    pub listen: Option<SocketAddr>,
    /// Where this service keeps its tables: `sqlite://<file>` or `postgres://…`. Without it,
    /// `dns.db` in the data directory.
    pub store: Option<String>,
    /// Recursive resolvers, `address` or `address:port`. They find each zone's name servers, and say what a
    /// sender would find. Without any, those of `/etc/resolv.conf`.
    #[serde(deserialize_with = "service::config::dns_servers")]
    pub resolvers: Vec<SocketAddr>,
    /// Where zones' name servers listen. Only closed networks need another port than 53. A name
    /// server at the address of one of `resolvers` is asked at that resolver's port.
    pub authoritative_port: u16,
    /// First pause between two looks at a domain whose records were just changed or asked for,
    /// in seconds; doubles up to `waiting_seconds`.
    pub first_seconds: u64,
    /// Longest pause while records of a domain are not as wanted, in seconds, …
    pub waiting_seconds: u64,
    /// … for this long after they last changed on our side, in seconds. Then `settled_seconds`.
    pub waiting_for_seconds: u64,
    /// Pause between looks at all other domains, in seconds.
    pub settled_seconds: u64,
    /// Domains that are looked at at the same time, beside those that callers wait for.
    pub domains_at_once: usize,
    /// Questions to all servers together, per second.
    pub questions_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
            store: None,
            resolvers: Vec::new(),
            authoritative_port: 53,
            first_seconds: 1,
            waiting_seconds: 30,
            waiting_for_seconds: 60 * 60,
            settled_seconds: 15 * 60,
            domains_at_once: 16,
            questions_per_second: 500,
        }
    }
}

impl Config {
    /// Where to ask a zone's name server.
    pub(crate) fn name_server(&self, address: IpAddr) -> SocketAddr {
        let same = self.resolvers.iter().find(|resolver| resolver.ip() == address);
        SocketAddr::new(address, same.map_or(self.authoritative_port, SocketAddr::port))
    }

    /// How long to wait after a look, before jitter: longer each time, but fast for a while after
    /// a change on our side, as people are then at their DNS provider's page.
    pub(crate) fn next_pause(
        &self,
        last: Duration,
        since_change: Duration,
        wanted: bool,
    ) -> Duration {
        let settled = Duration::from_secs(self.settled_seconds.max(1));
        if wanted || since_change > Duration::from_secs(self.waiting_for_seconds) {
            return settled;
        }
        let first = Duration::from_secs(self.first_seconds.max(1));
        let longest = Duration::from_secs(self.waiting_seconds.max(1));
        (last * 2).max(first).min(longest)
    }

    /// How long to leave a claim alone whose check failed on our side.
    pub(crate) fn pause_after_fault(&self, last: Duration) -> Duration {
        let first = Duration::from_secs(self.first_seconds.max(1));
        let settled = Duration::from_secs(self.settled_seconds.max(1));
        (last * 2).max(first).min(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_default_and_an_unknown_one_is_refused() {
        let config: Config = toml::from_str("resolvers = [\"127.0.0.1:5353\"]").unwrap();
        assert_eq!(config.settled_seconds, 900);
        assert!(toml::from_str::<Config>("resolver = 1").is_err());
    }

    #[test]
    fn a_name_server_that_is_also_our_resolver_is_asked_at_its_port() {
        let config: Config = toml::from_str("resolvers = [\"127.0.0.1:5353\"]").unwrap();
        assert_eq!(config.name_server("127.0.0.1".parse().unwrap()).port(), 5353);
        assert_eq!(config.name_server("192.0.2.53".parse().unwrap()).port(), 53);
    }

    #[test]
    fn looks_grow_rarer_until_all_is_as_wanted() {
        let config = Config::default();
        let secs = Duration::from_secs;
        let mut pause = secs(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pause = config.next_pause(pause, secs(10), false);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(config.next_pause(secs(1), secs(10), true), secs(900));
        assert_eq!(config.next_pause(secs(30), secs(3_601), false), secs(900));
    }
}
