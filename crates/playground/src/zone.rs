//! A zone: names, and the record sets at each.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

/// The records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrSet {
    /// Seconds that a resolver may keep them.
    pub ttl: u32,
    /// Their values, each once.
    pub data: Vec<RData>,
}

/// The record sets at one name.
pub type Node = BTreeMap<RecordType, RrSet>;

/// A zone that this server is the authority for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    origin: LowerName,
    nodes: BTreeMap<LowerName, Node>,
}

/// What a zone has for a name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Records of that type.
    Records(Vec<Record>),
    /// The name is an alias: look for this target instead.
    Alias(Box<Record>, Name),
    /// The name is there, the type is not.
    NoData,
    /// No such name.
    NoName,
}

impl Zone {
    /// An empty zone: it is no zone until it has an SOA.
    pub fn new(origin: &Name) -> Zone {
        Zone { origin: LowerName::new(origin), nodes: BTreeMap::new() }
    }

    /// The zone's name.
    pub fn origin(&self) -> &LowerName {
        &self.origin
    }

    /// Whether a name lies in the zone, or below a zone cut in it.
    pub fn holds(&self, name: &LowerName) -> bool {
        self.origin.zone_of(name)
    }

    /// Every name with its records.
    pub fn nodes(&self) -> impl Iterator<Item = (&LowerName, &Node)> {
        self.nodes.iter()
    }

    /// The record sets at a name; none where it has no records.
    pub fn node(&self, name: &LowerName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The records of one name and type.
    pub fn set(&self, name: &LowerName, kind: RecordType) -> Option<&RrSet> {
        self.nodes.get(name)?.get(&kind)
    }

    /// The zone's SOA.
    pub fn soa(&self) -> Option<(&SOA, u32)> {
        let set = self.set(&self.origin, RecordType::SOA)?;
        match set.data.first() {
            Some(RData::SOA(soa)) => Some((soa, set.ttl)),
            _ => None,
        }
    }

    /// Adds a record; a set has one TTL, the last that was given (RFC 2181 section 5.2).
    pub fn add(&mut self, name: &LowerName, ttl: u32, data: RData) {
        let node = self.nodes.entry(name.clone()).or_default();
        let set = node.entry(data.record_type()).or_insert_with(|| RrSet { ttl, data: Vec::new() });
        set.ttl = ttl;
        if !set.data.contains(&data) {
            set.data.push(data);
        }
    }

    /// Puts a record in the place of all of its name and type.
    pub fn replace(&mut self, name: &LowerName, ttl: u32, data: RData) {
        self.remove_set(name, data.record_type());
        self.add(name, ttl, data);
    }

    /// Removes all records of a name and type.
    pub fn remove_set(&mut self, name: &LowerName, kind: RecordType) {
        self.edit(name, |node| {
            node.remove(&kind);
        });
    }

    /// Removes one record.
    pub fn remove(&mut self, name: &LowerName, data: &RData) {
        self.edit(name, |node| {
            let kind = data.record_type();
            if let Some(set) = node.get_mut(&kind) {
                set.data.retain(|have| have != data);
                if set.data.is_empty() {
                    node.remove(&kind);
                }
            }
        });
    }

    fn edit(&mut self, name: &LowerName, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(name) {
            change(node);
            if node.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Looks for a name and type in here
    /// ([RFC 1034 section 4.3.2](https://www.rfc-editor.org/rfc/rfc1034#section-4.3.2)).
    pub fn find(&self, name: &LowerName, kind: RecordType) -> Found {
        if let Some(node) = self.nodes.get(name) {
            return take(node, name, kind);
        }
        if self.exists(name) {
            return Found::NoData;
        }
        // RFC 4592 section 3.3: only the wildcard right below the closest name that is there.
        let mut encloser = name.base_name();
        while !self.exists(&encloser) && encloser != self.origin && !encloser.is_root() {
            encloser = encloser.base_name();
        }
        let Ok(wildcard) = Name::from(&encloser).prepend_label("*") else {
            return Found::NoName;
        };
        match self.nodes.get(&LowerName::new(&wildcard)) {
            Some(node) => take(node, name, kind),
            None => Found::NoName,
        }
    }

    /// Whether a name has records or lies above one that has.
    fn exists(&self, name: &LowerName) -> bool {
        self.nodes.keys().any(|have| name.zone_of(have))
    }
}

fn take(node: &Node, owner: &LowerName, kind: RecordType) -> Found {
    let owner = Name::from(owner);
    let records = |set: &RrSet| {
        let record = |data: &RData| Record::from_rdata(owner.clone(), set.ttl, data.clone());
        set.data.iter().map(record).collect::<Vec<_>>()
    };
    if kind == RecordType::ANY {
        return Found::Records(node.values().flat_map(records).collect());
    }
    if let Some(set) = node.get(&kind) {
        return Found::Records(records(set));
    }
    let alias = node.get(&RecordType::CNAME).and_then(|set| Some((set.ttl, set.data.first()?)));
    match alias {
        Some((ttl, data @ RData::CNAME(target))) => {
            let alias = Record::from_rdata(owner.clone(), ttl, data.clone());
            Found::Alias(Box::new(alias), target.0.clone())
        }
        _ => Found::NoData,
    }
}
