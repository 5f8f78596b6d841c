//! From where an address can be reached.
//!
//! A provider's discovery document names addresses that this process then calls. One on the internet
//! must not be able to have it call what only this process can reach: its own machine, the network
//! that it is in, a cloud's metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The internet.
    World,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// A network behind a carrier's translation (RFC 6598).
    Shared,
    /// The same link, where clouds have their metadata.
    Link,
    /// This machine.
    Loopback,
    /// Nothing that is meant to be called: multicast, reserved, documentation.
    Reserved,
}

impl Reach {
    /// Where an address is, looking through those that stand for an IPv4 address.
    pub(super) fn of(address: IpAddr) -> Reach {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => match stands_for(v6) {
                Some(v4) => of_v4(v4),
                None => of_v6(v6),
            },
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        // Connecting to 0.0.0.0 reaches this machine.
        [0, ..] => Reach::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        [100, 64..=127, ..] => Reach::Shared,
        [169, 254, ..] => Reach::Link,
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Reach::Reserved,
        [224..=255, ..] => Reach::Reserved,
        _ => Reach::World,
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Loopback,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Private,
        [0xfe80..=0xfebf, ..] => Reach::Link,
        // Documentation, benchmarks, Teredo, ORCHID.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Reserved,
        [0x2000..=0x3fff, ..] => Reach::World,
        _ => Reach::Reserved,
    }
}

/// The IPv4 address that a mapped (RFC 4291), translated (RFC 6052) or 6to4 (RFC 3056) one leads to.
fn stands_for(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_it_leads_to_however_it_is_written() {
        fn check(address: &str, expected: Reach) {
            assert_eq!(Reach::of(address.parse().unwrap()), expected, "{address}");
        }
        for world in
            ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
        {
            check(world, Reach::World);
        }
        for private in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1"] {
            check(private, Reach::Private);
        }
        for shared in ["100.64.0.1", "100.127.255.255", "64:ff9b::6440:1"] {
            check(shared, Reach::Shared);
        }
        for link in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"] {
            check(link, Reach::Link);
        }
        for loopback in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            check(loopback, Reach::Loopback);
        }
        check("2002:7f00:1::1", Reach::Loopback);
        for reserved in ["224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "2001:db8::1"] {
            check(reserved, Reach::Reserved);
        }
        for reserved in ["ff02::1", "2001::1", "64:ff9b:1::1", "::7f00:1"] {
            check(reserved, Reach::Reserved);
        }
    }
}
