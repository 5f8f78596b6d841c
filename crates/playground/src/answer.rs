//! Answers to queries.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use crate::zone::{Found, Zone};

/// As many aliases are followed; a longer chain is a mistake in the zone.
const MAX_ALIASES: usize = 8;

/// The zone that answers for a name: of those that hold it, the deepest.
pub fn zone_of<'a>(zones: &'a [Zone], name: &LowerName) -> Option<&'a Zone> {
    zones.iter().filter(|zone| zone.holds(name)).max_by_key(|zone| zone.origin().num_labels())
}

/// Fills in the answer to the one question of `response`.
pub fn answer(zones: &[Zone], response: &mut Message) {
    let [question] = response.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return;
    };
    let kind = question.query_type();
    if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        response.metadata.response_code = ResponseCode::Refused;
        return;
    }
    let mut name = question.name().clone();
    for _ in 0..=MAX_ALIASES {
        let lower = LowerName::new(&name);
        let Some(zone) = zone_of(zones, &lower) else {
            // An alias may lead out of here; a question that begins outside is not for us.
            if response.answers.is_empty() {
                response.metadata.response_code = ResponseCode::Refused;
            }
            return;
        };
        response.metadata.authoritative = true;
        match zone.find(&lower, kind) {
            Found::Records(records) => {
                response.answers.extend(records);
                return;
            }
            Found::Alias(record, target) => {
                response.answers.push(*record);
                name = target;
            }
            Found::NoData => return response.authorities.extend(negative(zone)),
            Found::NoName => {
                response.metadata.response_code = ResponseCode::NXDomain;
                return response.authorities.extend(negative(zone));
            }
        }
    }
    response.metadata.response_code = ResponseCode::ServFail;
}

/// The SOA that says how long "there is nothing" may be believed (RFC 2308 section 3).
fn negative(zone: &Zone) -> Option<Record> {
    let (soa, ttl) = zone.soa()?;
    let origin = Name::from(zone.origin());
    Some(Record::from_rdata(origin, ttl.min(soa.minimum), RData::SOA(soa.clone())))
}
