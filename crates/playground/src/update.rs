//! Dynamic updates: all of a message's changes, or none.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordData, RecordType};

use crate::zone::Zone;

/// A zone as it is after an update whose prerequisites hold
/// ([RFC 2136 section 3](https://www.rfc-editor.org/rfc/rfc2136#section-3)).
///
/// # Errors
/// The response code that says why nothing was changed.
pub fn updated(
    zone: &Zone,
    prerequisites: &[Record],
    updates: &[Record],
) -> Result<Zone, ResponseCode> {
    check_prerequisites(zone, prerequisites)?;
    for update in updates {
        check_update(zone, update)?;
    }
    let mut after = zone.clone();
    for update in updates {
        apply(&mut after, update);
    }
    if after != *zone && serial(&after) == serial(zone) {
        bump_serial(&mut after);
    }
    Ok(after)
}

/// RFC 2136 section 3.2.
fn check_prerequisites(zone: &Zone, prerequisites: &[Record]) -> Result<(), ResponseCode> {
    // "Value dependent" ones are gathered: a set has to be equal to all that are given of it.
    let mut expected = Zone::new(&Name::from(zone.origin()));
    for record in prerequisites {
        let name = LowerName::new(&record.name);
        let kind = record.record_type();
        if record.ttl != 0 {
            return Err(ResponseCode::FormErr);
        }
        if !zone.holds(&name) {
            return Err(ResponseCode::NotZone);
        }
        let name_in_use = zone.node(&name).is_some();
        let set_in_use = zone.set(&name, kind).is_some();
        match (record.dns_class, record.data.is_update(), kind) {
            (DNSClass::ANY, true, RecordType::ANY) if !name_in_use => {
                return Err(ResponseCode::NXDomain);
            }
            (DNSClass::ANY, true, RecordType::ANY) => {}
            (DNSClass::ANY, true, _) if !set_in_use => return Err(ResponseCode::NXRRSet),
            (DNSClass::NONE, true, RecordType::ANY) if name_in_use => {
                return Err(ResponseCode::YXDomain);
            }
            (DNSClass::NONE, true, RecordType::ANY) => {}
            (DNSClass::NONE, true, _) if set_in_use => return Err(ResponseCode::YXRRSet),
            (DNSClass::ANY | DNSClass::NONE, true, _) => {}
            (DNSClass::IN, false, _) => expected.add(&name, 0, record.data.clone()),
            _ => return Err(ResponseCode::FormErr),
        }
    }
    for (name, node) in expected.nodes() {
        for (&kind, set) in node {
            let same = zone.set(name, kind).is_some_and(|have| {
                have.data.len() == set.data.len() && have.data.iter().all(|d| set.data.contains(d))
            });
            if !same {
                return Err(ResponseCode::NXRRSet);
            }
        }
    }
    Ok(())
}

/// RFC 2136 section 3.4.1.
fn check_update(zone: &Zone, record: &Record) -> Result<(), ResponseCode> {
    let name = LowerName::new(&record.name);
    if !zone.holds(&name) {
        return Err(ResponseCode::NotZone);
    }
    let kind = record.record_type();
    let of_a_query = matches!(kind, RecordType::AXFR | RecordType::IXFR);
    let empty = record.data.is_update();
    let sound = match record.dns_class {
        DNSClass::IN => !empty && kind != RecordType::ANY && !of_a_query,
        DNSClass::ANY => empty && record.ttl == 0 && !of_a_query,
        DNSClass::NONE => !empty && record.ttl == 0 && kind != RecordType::ANY && !of_a_query,
        _ => false,
    };
    if !sound {
        return Err(ResponseCode::FormErr);
    }
    if record.dns_class == DNSClass::IN && !storable(record) {
        return Err(ResponseCode::Refused);
    }
    Ok(())
}

/// What a zone file of ours can hold. A server may refuse whatever it can't keep
/// (RFC 2136 section 3.3).
fn storable(record: &Record) -> bool {
    let value = match &record.data {
        RData::A(_) | RData::AAAA(_) => true,
        RData::CNAME(target) => plain(&target.0),
        RData::NS(host) => plain(&host.0),
        RData::MX(mx) => plain(&mx.exchange),
        RData::SOA(soa) => plain(&soa.mname) && plain(&soa.rname),
        RData::TXT(txt) => {
            let printable = |byte: &u8| (b' '..=b'~').contains(byte);
            txt.txt_data.iter().all(|part| part.iter().all(printable))
        }
        _ => false,
    };
    value && plain(&record.name)
}

fn plain(name: &Name) -> bool {
    let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_*".contains(byte);
    name.iter().all(|label| label.iter().all(usual))
}

/// RFC 2136 section 3.4.2. What would leave a zone without its SOA or its last name server, or put
/// an alias beside other records, is passed over in silence, as the RFC has it.
fn apply(zone: &mut Zone, record: &Record) {
    let name = LowerName::new(&record.name);
    let kind = record.record_type();
    let apex = name == *zone.origin();
    let of_apex = |kind| apex && matches!(kind, RecordType::SOA | RecordType::NS);
    match (record.dns_class, kind) {
        (DNSClass::IN, RecordType::SOA) if !apex || !newer_soa(zone, &record.data) => {}
        (DNSClass::IN, RecordType::CNAME) if has_another(zone, &name) => {}
        // There is one of each: the new one takes the place of the old.
        (DNSClass::IN, RecordType::SOA | RecordType::CNAME) => {
            zone.replace(&name, record.ttl, record.data.clone());
        }
        (DNSClass::IN, _) if zone.set(&name, RecordType::CNAME).is_some() => {}
        (DNSClass::IN, _) => zone.add(&name, record.ttl, record.data.clone()),
        (DNSClass::ANY, RecordType::ANY) => {
            let kinds: Vec<_> = match zone.node(&name) {
                Some(node) => node.keys().copied().collect(),
                None => Vec::new(),
            };
            for kind in kinds.into_iter().filter(|&kind| !of_apex(kind)) {
                zone.remove_set(&name, kind);
            }
        }
        (DNSClass::ANY, _) if !of_apex(kind) => zone.remove_set(&name, kind),
        (DNSClass::NONE, RecordType::SOA) => {}
        (DNSClass::NONE, RecordType::NS) if apex && is_single(zone, &name, kind) => {}
        (DNSClass::NONE, _) => zone.remove(&name, &record.data),
        _ => {}
    }
}

fn has_another(zone: &Zone, name: &LowerName) -> bool {
    zone.node(name).is_some_and(|node| node.keys().any(|&kind| kind != RecordType::CNAME))
}

fn is_single(zone: &Zone, name: &LowerName, kind: RecordType) -> bool {
    zone.set(name, kind).is_some_and(|set| set.data.len() == 1)
}

fn newer_soa(zone: &Zone, data: &RData) -> bool {
    let RData::SOA(new) = data else { return false };
    // RFC 1982 section 3.2: newer is what lies within half the circle ahead.
    serial(zone).is_none_or(|old| (1..=1 << 31).contains(&new.serial.wrapping_sub(old)))
}

fn serial(zone: &Zone) -> Option<u32> {
    zone.soa().map(|(soa, _)| soa.serial)
}

fn bump_serial(zone: &mut Zone) {
    if let Some((soa, ttl)) = zone.soa() {
        let mut soa = soa.clone();
        soa.serial = soa.serial.wrapping_add(1);
        let origin = zone.origin().clone();
        zone.replace(&origin, ttl, RData::SOA(soa));
    }
}
