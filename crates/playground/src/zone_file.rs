//! Zones as files, for the next start and for people who want to look.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hickory_proto::rr::{LowerName, Name, RData};
use hickory_proto::serialize::txt::Parser;

use crate::zone::Zone;

/// A zone file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    /// The system said no.
    #[error("the zone file {} can't be {done}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        done: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a zone.
    #[error("the zone file {} can't be understood ({why}): correct it, or remove it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Where a zone is kept.
pub(crate) fn path(folder: &Path, origin: &LowerName) -> PathBuf {
    let name = origin.to_string();
    let name = match name.trim_end_matches('.') {
        "" => "root",
        name => name,
    };
    folder.join(format!("{name}.zone"))
}

/// The zone that was kept; none where there is no file.
pub(crate) fn read(folder: &Path, origin: &Name) -> Result<Option<Zone>, ZoneFileError> {
    let path = path(folder, &LowerName::new(origin));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(at(&path, "read")(e)),
    };
    match parse(&text, origin) {
        Ok(zone) => Ok(Some(zone)),
        Err(why) => Err(ZoneFileError::Unreadable { path, why }),
    }
}

/// Reads a zone from text.
pub(crate) fn parse(text: &str, origin: &Name) -> Result<Zone, String> {
    let (_, sets) =
        Parser::new(text, None, Some(origin.clone())).parse().map_err(|e| e.to_string())?;
    let mut zone = Zone::new(origin);
    for (key, set) in sets {
        if !zone.holds(&key.name) {
            return Err(format!("{} is not in the zone", key.name));
        }
        for record in set.records_without_rrsigs() {
            zone.add(&key.name, set.ttl(), record.data.clone());
        }
    }
    match zone.soa() {
        Some(_) => Ok(zone),
        None => Err("it has no SOA".to_owned()),
    }
}

/// Keeps a zone: whole or not at all, and durably.
pub(crate) fn write(folder: &Path, zone: &Zone) -> Result<(), ZoneFileError> {
    let path = path(folder, zone.origin());
    let unfinished = path.with_extension("zone.new");
    let mut file = File::create(&unfinished).map_err(at(&unfinished, "created"))?;
    file.write_all(render(zone).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at(&unfinished, "written"))?;
    fs::rename(&unfinished, &path).map_err(at(&path, "replaced"))
}

/// A zone as text, one record a line.
pub(crate) fn render(zone: &Zone) -> String {
    let mut text = String::new();
    for (name, node) in zone.nodes() {
        for (kind, set) in node {
            for data in &set.data {
                let (name, ttl) = (Name::from(name).to_ascii(), set.ttl);
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name} {ttl} IN {kind} {}", value(data));
            }
        }
    }
    text
}

fn value(data: &RData) -> String {
    match data {
        // Its own `Display` joins the strings and quotes nothing.
        RData::TXT(txt) => {
            let quoted = txt.txt_data.iter().map(|part| {
                let part = String::from_utf8_lossy(part);
                format!("\"{}\"", part.replace('\\', "\\\\").replace('"', "\\\""))
            });
            quoted.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn at(path: &Path, done: &'static str) -> impl Fn(io::Error) -> ZoneFileError {
    move |source| ZoneFileError::Io { path: path.to_owned(), done, source }
}
