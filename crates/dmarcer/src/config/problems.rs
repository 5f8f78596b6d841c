//! What in a configuration can't work, by key, beyond what reading the file has found.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use hosting::{Domain, RegionId};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use service::supervise::chain;
use service::telemetry::check_level;
use url::Url;

use super::Config;

/// A claim's CNAME target is its nonce, 32 letters, a dot and the region's host: a name that ends
/// up longer than 253 bytes can't be published (RFC 1035 section 2.3.4).
const MAX_REGION_HOST_BYTES: usize = 253 - 32 - 1;
/// A report mailbox's name gets `+` and the claim's nonce: together at most 64 bytes
/// (RFC 5321 section 4.5.3.1.1). control holds to the same.
const MAX_REPORTS_LOCAL_BYTES: usize = 31;
/// The longest name of a mailbox (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;
/// A pause of nothing would be no pause, and one of more than a year none that ends.
const PAUSE_SECONDS: RangeInclusive<u64> = 1..=365 * 24 * 60 * 60;
/// More looks at once only wait for each other's questions.
const DOMAINS_AT_ONCE: RangeInclusive<usize> = 1..=10_000;
/// A CA's roots are not longer: all public ones together are a quarter of it.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;

impl Config {
    /// What can't work wherever this is used.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.place_problems(&mut problems);
        if let Some(token) = &self.control.admin_token
            && !token.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            problems.push(
                "control.admin_token: use letters, digits and signs, without spaces".to_owned(),
            );
        }
        if let Some(sign_in) = &self.control.sign_in {
            problems.extend(sign_in.check().err().map(|bad| bad.problems).unwrap_or_default());
        }
        self.region_problems(&mut problems);
        self.dns_problems(&mut problems);
        self.issuer_problems(&mut problems);
        self.listener_problems(&mut problems);
        problems
    }

    /// What can't work on this machine as it is now. `up` starts nevertheless: the edge does not
    /// need it, and what does is tried again.
    pub(crate) fn problems_here(&self) -> Vec<String> {
        let issuer =
            self.issuer.ca_file.as_ref().filter(|_| self.issuer.kind == issuer::Kind::Acme);
        let provider = self.control.sign_in.as_ref().and_then(|it| it.ca_file.as_ref());
        let files = [("issuer.ca_file", issuer), ("control.sign_in.ca_file", provider)];
        files
            .into_iter()
            .filter_map(|(key, file)| Some((key, file?)))
            .filter_map(|(key, file)| {
                Some(format!("{key}: {} {}", file.display(), roots(file).err()?))
            })
            .collect()
    }

    fn place_problems(&self, problems: &mut Vec<String>) {
        if self.data_dir.as_os_str().is_empty() {
            problems.push("data_dir: name a folder".to_owned());
        } else if self.data_dir.exists() && !self.data_dir.is_dir() {
            problems.push(format!("data_dir: {} is no folder", self.data_dir.display()));
        }
        if let Err(why) = check_level(&self.log.level) {
            problems.push(format!("log.level: {why}"));
        }
        if self.bus.url.starts_with("nats://") || self.bus.url.starts_with("tls://") {
            problems.push(
                "bus.url: NATS isn't supported yet: use \"embedded\", every service in one process"
                    .to_owned(),
            );
        } else if self.bus.url != "embedded" {
            problems.push("bus.url: the only bus there is yet is \"embedded\"".to_owned());
        }
        for (key, store) in [
            ("control.store", &self.control.store),
            ("dns.store", &self.dns.store),
            ("issuer.store", &self.issuer.store),
            ("intake.store", &self.intake.store),
        ] {
            if store.as_ref().is_some_and(|url| !is_store(url)) {
                problems.push(format!("{key}: write sqlite://<file> or postgres://…"));
            }
        }
    }

    fn region_problems(&self, problems: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        let mut hosts: Vec<(&str, Domain)> = Vec::new();
        for region in &self.region {
            let id = &region.id;
            if let Err(error) = id.parse::<RegionId>() {
                problems.push(format!("region.id: {error}"));
            }
            if !ids.insert(id) {
                problems.push(format!("region.id: there are two regions {id:?}"));
            }
            match region.host.parse::<Domain>() {
                Err(error) => problems.push(format!("region.host of {id}: {error}")),
                Ok(host) => {
                    host_problems(id, &host, &hosts, problems);
                    hosts.push((id, host));
                }
            }
            if region.reports.as_deref().is_some_and(|mailbox| !takes_reports(mailbox)) {
                problems.push(format!(
                    "region.reports of {id}: it has to be a mail address, such as \
                     tlsrpt@reports.example.net, with 1 to {MAX_REPORTS_LOCAL_BYTES} letters, \
                     digits, '.', '_' and '-' before the @"
                ));
            }
        }
        let Some(edge) = self.edge() else { return };
        if edge.region.is_empty() {
            problems.push("edge.region: set it to the id of a [[region]]".to_owned());
        } else if let Err(error) = edge.region.parse::<RegionId>() {
            problems.push(format!("edge.region: {error}"));
        } else if !ids.is_empty() && !ids.contains(&edge.region) {
            // Where none is configured, the region may be one that `dmarcer region add` adds.
            let known: Vec<&str> = ids.into_iter().map(String::as_str).collect();
            let (region, known) = (&edge.region, known.join(", "));
            problems.push(format!(
                "edge.region: no [[region]] has the id {region:?}: there are {known}"
            ));
        } else if let Err(error) = edge.check() {
            problems.push(error.to_string());
        }
    }

    fn dns_problems(&self, problems: &mut Vec<String>) {
        let dns = &self.dns;
        for resolver in dns.resolvers.iter().filter(|resolver| resolver.port() == 0) {
            problems.push(format!("dns.resolvers: {resolver} has no port: leave it out for 53"));
        }
        if dns.authoritative_port == 0 {
            problems.push("dns.authoritative_port: it has to be 1 to 65535".to_owned());
        }
        for (key, seconds) in [
            ("first_seconds", dns.first_seconds),
            ("waiting_seconds", dns.waiting_seconds),
            ("waiting_for_seconds", dns.waiting_for_seconds),
            ("settled_seconds", dns.settled_seconds),
        ] {
            problems.extend(outside(&format!("dns.{key}"), seconds, &PAUSE_SECONDS));
        }
        problems.extend(outside("dns.domains_at_once", dns.domains_at_once, &DOMAINS_AT_ONCE));
        if dns.questions_per_second == 0 {
            problems.push("dns.questions_per_second: it has to be at least 1".to_owned());
        }
    }

    fn issuer_problems(&self, problems: &mut Vec<String>) {
        if let Err(error) = self.issuer.check() {
            problems.push(chain(&error));
        }
        for contact in self.issuer.contact.iter().filter(|contact| !is_contact(contact)) {
            problems.push(format!(
                "issuer.contact: {contact:?} is no mail address, such as ops@example.net"
            ));
        }
    }

    fn listener_problems(&self, problems: &mut Vec<String>) {
        let edge = self.edge();
        let (https, http) = match &edge {
            Some(edge) => (edge.https.as_slice(), edge.http.as_slice()),
            None => (&[][..], &[][..]),
        };
        let grpc = [("control.listen", self.control.listen)];
        let https = https.iter().map(|&address| ("edge.https", address));
        let http = http.iter().map(|&address| ("edge.http", address));
        let all: Vec<_> = grpc.into_iter().chain(https).chain(http).collect();
        for (nth, (key, address)) in all.iter().enumerate() {
            for (other_key, other) in &all[nth + 1..] {
                if overlap(*address, *other) {
                    problems.push(format!("{other_key}: {other} is taken by {key} ({address})"));
                }
            }
        }
    }
}

/// `host` beside those before it: an edge finds a policy by its name alone, and `*.` of one host
/// would answer for the other.
fn host_problems(id: &str, host: &Domain, others: &[(&str, Domain)], problems: &mut Vec<String>) {
    let host = host.as_str();
    if host.len() > MAX_REGION_HOST_BYTES {
        problems.push(format!(
            "region.host of {id}: it has {} bytes and can have {MAX_REGION_HOST_BYTES}: domains \
             point to names below it",
            host.len()
        ));
    }
    let below = |one: &str, other: &str| {
        one.strip_suffix(other).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    for (other_id, other) in others {
        let other = other.as_str();
        if below(host, other) || below(other, host) {
            problems.push(format!(
                "region.host of {id}: {host} is also that of {other_id} ({other}), or one is below \
                 the other: give each region a host of its own"
            ));
        }
    }
}

fn outside<N: PartialOrd + Display>(
    key: &str,
    value: N,
    allowed: &RangeInclusive<N>,
) -> Option<String> {
    let (from, to) = (allowed.start(), allowed.end());
    (!allowed.contains(&value)).then(|| format!("{key}: it has to be {from} to {to}"))
}

fn is_store(url: &str) -> bool {
    match url.strip_prefix("sqlite://") {
        Some(rest) => {
            let file = rest.split('?').next().unwrap_or_default();
            !file.is_empty() && !file.ends_with('/')
        }
        None => {
            let server = url.starts_with("postgres://") || url.starts_with("postgresql://");
            server && Url::parse(url).is_ok()
        }
    }
}

/// Whether control takes it as the mailbox of a region: the detail after `+` is ours, and what a
/// URI would have to escape is refused. An empty one is none.
fn takes_reports(mailbox: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match mailbox.trim() {
        "" => true,
        mailbox => is_mailbox(mailbox, MAX_REPORTS_LOCAL_BYTES, plain),
    }
}

/// Whether a CA can write there: one mail address, without header fields (RFC 8555 section 7.3).
fn is_contact(contact: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"@,;:?%&#<>()[]\\\"".contains(c);
    is_mailbox(contact.strip_prefix("mailto:").unwrap_or(contact), MAX_LOCAL_BYTES, plain)
}

fn is_mailbox(mailbox: &str, max_local_bytes: usize, plain: impl Fn(char) -> bool) -> bool {
    let Some((local, host)) = mailbox.rsplit_once('@') else { return false };
    let named = (1..=max_local_bytes).contains(&local.len()) && local.chars().all(plain);
    named && host.parse::<Domain>().is_ok()
}

/// Reads the roots of a CA as the issuer does.
fn roots(file: &Path) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("can't be read: {error}");
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut pem = Vec::new();
    let file = File::open(file).map_err(unreadable)?;
    file.take(MAX_CA_FILE_BYTES).read_to_end(&mut pem).map_err(unreadable)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    match RootCertStore::empty().add_parsable_certificates(certificates) {
        (0, _) => Err("holds no PEM certificate".to_owned()),
        _ => Ok(()),
    }
}

/// Whether two listeners would want the same address.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_host
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const REGION: &str = "[[region]]\nid = \"eu-1\"\nhost = \"eu-1.sts.example.net\"\n";

    fn load(text: &str) -> Result<Config, Vec<String>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(Some(file.path()))
    }

    fn check(text: &str, named: &str) {
        let problems = load(text).map(|_| ()).unwrap_err().join("\n");
        assert!(problems.contains(named), "{text}: {problems}");
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        check("data_dri = \"/x\"", "did you mean `data_dir`?");
        check("data_dir = \"\"", "data_dir: name a folder");
        check("data_dir = \"/dev/null\"", "data_dir: /dev/null is no folder");
        check("[bus]\nurl = \"nats://127.0.0.1\"", "bus.url: NATS isn't supported yet");
        check("[bus]\nurl = \"kafka\"", "bus.url");
        check("[log]\nformat = \"xml\"", "log.format");
        check("[log]\nlevel = \"inof\"", "log.level: \"inof\" is none of");
        check("[control]\nadmin_token = \"a b\"", "control.admin_token");
        check("[control]\nadmin_token = \"gehe\u{fc}m-geheim\"", "control.admin_token");
        check("[edge]\nregion = \"eu/1\"", "edge.region");
        check(
            &format!("{REGION}[edge]\nhttps = [\"[::]:443\"]\nhttp = [\"[::1]:443\"]"),
            "edge.http: [::1]:443 is taken by edge.https",
        );
        check("[issuer]\norders_at_once = 0", "issuer.orders_at_once");
        for contact in ["ops", "tel:1", "a@b", "mailto:", "a b@example.net", "a@example.net?cc=b"] {
            check(&format!("[issuer]\ncontact = {contact:?}"), "issuer.contact");
        }
        for good in ["ops@example.net", "mailto:ops+acme@example.net"] {
            load(&format!("[issuer]\ncontact = [{good:?}]")).unwrap();
        }
    }

    #[test]
    fn who_may_sign_in_is_checked_before_anybody_does() {
        let grant = |rest: &str| {
            format!(
                "[control.sign_in]\nissuer = \"https://login.example.org\"\nclient_id = \"c\"\n\
                 [[control.sign_in.grant]]\nvalue = \"mail\"\n{rest}"
            )
        };
        load(&grant("role = \"domain-manager\"\ndomains = [\"Example.COM\"]")).unwrap();
        check(&grant("role = \"admin\""), "control.sign_in.grant.role of \"mail\"");
        check(&grant("rolle = \"read-only\""), "did you mean `role`?");
        check(&grant("role = \"read-only\"\nworkspace = \"A\""), "control.sign_in.grant.workspace");
        check(
            &grant("role = \"read-only\"").replace("https:", "http:"),
            "control.sign_in.issuer: write the provider's https:// URL",
        );
        check(
            &grant("role = \"read-only\"")
                .replace("client_id", "redirects = [\"http://example.net/\"]\nclient_id"),
            "control.sign_in.redirects",
        );
        check("[control.sign_in]\nclient_id = \"c\"", "issuer: this key has to be set");
        let secret = grant("role = \"read-only\"")
            .replace("client_id", "client_secret = \"s3cret\"\nclient_id");
        let secrets = format!("{:?}", load(&secret).unwrap().secrets());
        assert!(secrets.contains("control.sign_in.client_secret"), "{secrets}");
        assert!(!secrets.contains("s3cret"), "{secrets}");
    }

    #[test]
    fn a_store_names_a_file_or_a_server() {
        for wrong in ["mysql://x", "sqlite://", "sqlite:///", "sqlite:///x/", "sqlite:///?mode=rwc"]
        {
            check(&format!("[control]\nstore = {wrong:?}"), "control.store");
        }
        check("[intake]\nstore = \"postgres\"", "intake.store");
        for good in ["sqlite://x.db", "sqlite:///x/y.db?mode=rwc", "postgres://u:p@h/d"] {
            load(&format!("[dns]\nstore = {good:?}")).unwrap();
        }
    }

    #[test]
    fn numbers_that_would_stop_dns_are_refused() {
        check("[dns]\nresolvers = [\"192.0.2.1:0\"]", "dns.resolvers: 192.0.2.1:0 has no port");
        for key in [
            "authoritative_port",
            "first_seconds",
            "waiting_seconds",
            "waiting_for_seconds",
            "settled_seconds",
            "domains_at_once",
            "questions_per_second",
        ] {
            check(&format!("[dns]\n{key} = 0"), &format!("dns.{key}"));
        }
        check(&format!("[dns]\nsettled_seconds = {}", i64::MAX), "dns.settled_seconds");
    }

    #[test]
    fn each_region_has_an_id_and_a_host_of_its_own() {
        let with = |id: &str, host: &str| {
            format!("{REGION}[[region]]\nid = \"{id}\"\nhost = \"{host}\"\n")
        };
        check(&format!("{REGION}[edge]\nregion = \"eu-2\""), "there are eu-1");
        check(&format!("{REGION}{REGION}"), "two regions");
        check("[[region]]\nid = \"a/b\"\nhost = \"x.example.net\"", "region.id");
        check("[[region]]\nid = \"a\"\nhost = \"x y\"", "region.host of a");
        check("[[region]]\nid = \"a\"", "host");
        for host in ["EU-1.sts.example.net", "a.eu-1.sts.example.net", "sts.example.net"] {
            check(&with("eu-2", host), "region.host of eu-2");
        }
        load(&with("eu-2", "neu-1.sts.example.net")).unwrap();
        let long = |bytes: usize| {
            let labels = format!("{0}.{0}.{0}.", "a".repeat(63));
            format!("{labels}{}.net", "b".repeat(bytes - labels.len() - 4))
        };
        load(&with("eu-2", &long(MAX_REGION_HOST_BYTES))).unwrap();
        check(&with("eu-2", &long(MAX_REGION_HOST_BYTES + 1)), "region.host of eu-2: it has 221");
        for reports in ["postmaster", "a@", "@example.net", "a+b@example.net", "a b@example.net"] {
            check(&format!("{REGION}reports = {reports:?}"), "region.reports of eu-1");
        }
        for reports in ["", "tls-reports@example.net"] {
            load(&format!("{REGION}reports = {reports:?}")).unwrap();
        }
    }

    #[test]
    fn the_roots_of_a_ca_are_looked_at_where_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let problem = |kind: &str, file: &Path| {
            let text = format!("[issuer]\nkind = \"{kind}\"\nca_file = {file:?}");
            load(&text).unwrap().problems_here().join("\n")
        };
        assert!(problem("acme", Path::new("/nowhere/ca.pem")).contains("can't be read"));
        assert!(problem("acme", Path::new("/dev/zero")).contains("no regular file"));
        assert!(problem("acme", &empty).contains("holds no PEM certificate"));
        assert_eq!(problem("local", &empty), "");
    }
}
