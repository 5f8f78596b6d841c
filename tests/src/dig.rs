//! Asking one DNS server, as an operator at a terminal would.

use std::net::{IpAddr, TcpStream};

use crate::Outcome;
use crate::process::{program, run};

/// The records that `server` answers, each as in a zone file (a TXT in its quotes), those of a CNAME
/// chain included. Empty when there is none, and when the server says that it failed.
///
/// # Errors
///
/// When nothing answers within two seconds.
pub fn ask(server: IpAddr, name: &str, kind: &str) -> Outcome<Vec<String>> {
    let mut kdig = program("kdig")?;
    kdig.args(["+short", "+timeout=1", "+retry=1"]).arg(format!("@{server}")).args([name, kind]);
    Ok(run(&mut kdig)?.lines().map(str::to_owned).collect())
}

/// Whether `server` has started to answer on port 53, over TCP as over UDP.
///
/// Asked before the first question: a question over UDP to a server that is not there yet waits a
/// second for nothing.
pub(crate) fn listens(server: IpAddr) -> Outcome {
    TcpStream::connect((server, 53))?;
    Ok(())
}
