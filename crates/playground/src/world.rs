//! The zones of the playground.

use std::net::Ipv4Addr;

use hickory_proto::rr::Name;

use crate::zone::Zone;
use crate::zone_file;

/// The domain to try things with.
pub const EXAMPLE_DOMAIN: &str = "example.test";
/// The region's host; each claim gets a name of its own below it.
pub const REGION_HOST: &str = "region.test";

/// Seconds that an answer may be kept: a change is to be seen while one looks on.
const TTL: u32 = 1;

/// The zones that a new playground begins with. All hosts are on `address`.
///
/// The root knows of nothing else, so that every other name is certain not to be there, and takes
/// the records of domains that one makes up.
///
/// # Errors
/// Never: the text is ours, and a test reads it.
pub fn zones(address: Ipv4Addr) -> Result<Vec<Zone>, String> {
    let soa = |zone: &str| {
        format!(
            "{zone} {TTL} IN SOA ns.{REGION_HOST}. hostmaster.{EXAMPLE_DOMAIN}. 1 60 60 3600 {TTL}\n{zone} {TTL} IN NS ns.{REGION_HOST}.\n"
        )
    };
    let host = |name: &str| format!("{name}. {TTL} IN A {address}\n");
    let zone = |origin: &str, records: &[String]| {
        let name = Name::from_ascii(origin).map_err(|e| e.to_string())?;
        zone_file::parse(&(soa(origin) + &records.concat()), &name)
    };
    Ok(vec![
        zone(".", &[])?,
        zone(
            &format!("{EXAMPLE_DOMAIN}."),
            &[
                format!("{EXAMPLE_DOMAIN}. {TTL} IN MX 10 mx.{EXAMPLE_DOMAIN}.\n"),
                host(EXAMPLE_DOMAIN),
                host(&format!("mx.{EXAMPLE_DOMAIN}")),
            ],
        )?,
        zone(
            &format!("{REGION_HOST}."),
            &[
                host(REGION_HOST),
                host(&format!("ns.{REGION_HOST}")),
                host(&format!("*.{REGION_HOST}")),
            ],
        )?,
    ])
}
