//! Three workspaces claim one name, and its name servers do not agree at first: the name is whose the zone
//! shows, and to the others it is as if they were alone with it.
//!
//! *Alone* is a name of their own with the very same records, which nobody else claims: what a workspace
//! is told of the one is what it is told of the other.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use dmarcer_tests::calls::{add_workspace, make_token, over_grpc, raw, reason, with};
use dmarcer_tests::knot::Zone;
use dmarcer_tests::{Failure, Internet, Knot, Outcome, Product, World, curl, dig, netns, wait};
use rand::seq::SliceRandom as _;
use serde_json::Value;
use wire::access::{Role, rpcs};

/// What all three want.
const WANTED: &str = "wanted.test";
/// What only one of them wants, each. All names here are equally long, so that lengths tell nothing.
const ALONE: [&str; 3] = ["alone1.test", "alone2.test", "alone3.test"];
/// What nobody wants.
const NOWHERE: &str = "nobody.test";
const WORKSPACES: [&str; 3] = ["one", "two", "three"];

const URL: &str = "https://mta-sts.wanted.test/.well-known/mta-sts.txt";
/// Everything here takes seconds; a busy machine gets this long.
const SOON: Duration = Duration::from_secs(60);
/// A transfer takes two looks this far apart, and a little.
const BETWEEN_LOOKS: Duration = Duration::from_secs(6 * 60);

const WANTED_ZONE: &str = "\
wanted.test. SOA ns1.hosts.test. hostmaster.wanted.test. 1 3600 600 86400 1
wanted.test. NS ns1.hosts.test.
wanted.test. NS ns2.hosts.test.
wanted.test. MX 10 mx.example.test.
";
const ALONE_ZONES: [&str; 3] = [
    "\
alone1.test. SOA ns1.hosts.test. hostmaster.alone1.test. 1 3600 600 86400 1
alone1.test. NS ns1.hosts.test.
alone1.test. NS ns2.hosts.test.
alone1.test. MX 10 mx.example.test.
",
    "\
alone2.test. SOA ns1.hosts.test. hostmaster.alone2.test. 1 3600 600 86400 1
alone2.test. NS ns1.hosts.test.
alone2.test. NS ns2.hosts.test.
alone2.test. MX 10 mx.example.test.
",
    "\
alone3.test. SOA ns1.hosts.test. hostmaster.alone3.test. 1 3600 600 86400 1
alone3.test. NS ns1.hosts.test.
alone3.test. NS ns2.hosts.test.
alone3.test. MX 10 mx.example.test.
",
];

/// The two name servers of all four zones.
struct NameServers([Knot; 2]);

impl NameServers {
    fn start(world: &World, internet: &Internet) -> Outcome<Self> {
        let zones = || {
            [
                Zone { name: "wanted.test.", text: WANTED_ZONE },
                Zone { name: "alone1.test.", text: ALONE_ZONES[0] },
                Zone { name: "alone2.test.", text: ALONE_ZONES[1] },
                Zone { name: "alone3.test.", text: ALONE_ZONES[2] },
            ]
        };
        let start = |at: IpAddr| Knot::start(world, at, &zones());
        let servers = Self([start(World::NAME_SERVERS[0])?, start(World::NAME_SERVERS[1])?]);
        // Their own names tell nothing of whose zone they serve.
        for name in [WANTED, ALONE[0], ALONE[1], ALONE[2]] {
            for server in ["ns1.hosts.test.", "ns2.hosts.test."] {
                internet.registry.add(name, "NS", server)?;
            }
        }
        for (at, address) in World::NAME_SERVERS.iter().enumerate() {
            let name = format!("ns{}.hosts.test", at + 1);
            internet.registry.add(&name, "A", &address.to_string())?;
        }
        Ok(servers)
    }

    /// One server shows something at the same place of all four names.
    fn show(&self, server: usize, label: &str, kind: &str, value: &str) -> Outcome {
        for name in [WANTED, ALONE[0], ALONE[1], ALONE[2]] {
            self.0[server].set(&format!("{label}.{name}"), kind, value)?;
        }
        Ok(())
    }

    /// One server shows a tenant's claim to the wanted name. Where the tenant is alone, it shows their
    /// claim to that name; to all others it is somebody else's, here as there.
    fn show_claim(&self, server: usize, tenant: &Tenant<'_>) -> Outcome {
        let target = |name| Ok::<_, Failure>(format!("{}.", tenant.target(name)?));
        self.show(server, "mta-sts", "CNAME", &target(WANTED)?)?;
        let own = format!("mta-sts.{}", tenant.alone);
        self.0[server].set(&own, "CNAME", &target(tenant.alone)?)
    }

    fn both_show_claim(&self, tenant: &Tenant<'_>) -> Outcome {
        (0..2).try_for_each(|server| self.show_claim(server, tenant))
    }
}

/// A member of the workspace, with the name that only they claim.
struct Tenant<'a> {
    product: &'a Product,
    token: String,
    alone: &'static str,
}

impl Tenant<'_> {
    /// What a command is answered, be it a refusal.
    fn told(&self, arguments: &[&str]) -> Outcome<Value> {
        let output = self.product.command_of(Some(&self.token), arguments)?.output()?;
        let said = if output.status.success() { &output.stdout } else { &output.stderr };
        let last = String::from_utf8_lossy(said);
        serde_json::from_str(&last)
            .map_err(|e| Failure::new(format!("dmarcer {}: {e}: {last}", arguments.join(" "))))
    }

    fn does(&self, arguments: &[&str]) -> Outcome<Value> {
        let answer = self.told(arguments)?;
        match answer["reason"].as_str() {
            Some(_) => Err(Failure::new(format!("dmarcer {}: {answer}", arguments.join(" ")))),
            None => Ok(answer),
        }
    }

    fn claim(&self, name: &str) -> Outcome {
        self.does(&["domain", "add", name])?;
        self.does(&["hosting", "activate", name])?;
        Ok(())
    }

    fn target(&self, name: &str) -> Outcome<String> {
        let shown = self.does(&["domain", "show", name])?;
        Ok(shown["hosting"]["cnameTarget"].as_str().unwrap_or_default().to_owned())
    }

    fn state(&self, name: &str) -> Outcome<String> {
        let shown = self.does(&["domain", "show", name])?;
        Ok(shown["hosting"]["state"].as_str().unwrap_or_default().to_owned())
    }

    fn until_state_is(&self, state: &str) -> Outcome {
        wait::until(SOON, &format!("{WANTED} to be {state}"), || {
            match self.state(WANTED).map_err(|failure| failure.to_string())? {
                now if now == state => Ok(()),
                now => Err(now),
            }
        })
    }

    /// Everything that this tenant can be told about a name, in which nothing is left that is another
    /// one for each name: the name, the claim's own mark and ids, and times.
    fn all_about(&self, name: &str) -> Outcome<Vec<(String, Value)>> {
        let target = self.target(name).unwrap_or_default();
        let nonce = target.split('.').next().unwrap_or_default().to_owned();
        let history = self.told(&["policy", "history", name])?;
        let versions = history["items"].as_array().cloned().unwrap_or_default();
        let ids = versions.iter().filter_map(|version| version["policyId"].as_str());
        let mut own: Vec<(String, String)> =
            ids.enumerate().map(|(at, id)| (id.to_owned(), format!("<id {at}>"))).collect();
        own.push((name.to_owned(), "<name>".to_owned()));
        if !nonce.is_empty() {
            own.push((nonce, "<nonce>".to_owned()));
        }
        let mut all = Vec::new();
        for arguments in [
            &["domain", "show"][..],
            &["domain", "list", "--contains"],
            &["hosting", "status"],
            &["dns", "check"],
            &["dns", "records"],
            &["policy", "show"],
            &["policy", "history"],
            &["policy", "plan-mx"],
            &["policy", "promote", "--yes"],
            &["readiness"],
            &["cert", "show"],
            &["cert", "history"],
            &["cert", "reissue"],
            &["activity"],
        ] {
            let answer = self.told(&[arguments, &[name]].concat())?;
            all.push((arguments.join(" "), normal(answer, &own)));
        }
        let audit = self.told(&["audit", "--about", name])?;
        let records = audit["items"].as_array().cloned().unwrap_or_default();
        let actions = records.iter().map(|record| record["action"].clone());
        all.push(("audit".to_owned(), Value::Array(actions.collect())));
        Ok(all)
    }

    /// What they are told of the wanted name is what they are told of the name that is theirs alone.
    fn is_as_if_alone(&self, when: &str) -> Outcome {
        let (wanted, alone) = thread::scope(|scope| {
            let wanted = scope.spawn(|| self.all_about(WANTED));
            let alone = self.all_about(self.alone);
            (wanted.join(), alone)
        });
        let wanted = wanted.map_err(|_| Failure::new("asking about the wanted name"))?;
        let (wanted, alone) = (wanted?, alone?);
        for ((command, wanted), (_, alone)) in wanted.into_iter().zip(alone) {
            assert_eq!(wanted, alone, "{when}: {command}");
        }
        Ok(())
    }
}

/// An answer without what is its own of each name, and without times.
fn normal(value: Value, own: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => {
            let text = own.iter().fold(text, |text, (from, to)| text.replace(from, to));
            Value::String(without_times(&text))
        }
        Value::Array(items) => items.into_iter().map(|item| normal(item, own)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                // A name counts them for ever, whoever holds it; see `Policy.revision` in proto/.
                let value = match key.as_str() {
                    "revision" => Value::Null,
                    _ => normal(value, own),
                };
                (key, value)
            });
            Value::Object(fields.collect())
        }
        other => other,
    }
}

/// The text with each instant, such as `2026-11-23T10:00:00.123Z`, replaced.
fn without_times(text: &str) -> String {
    let mut rest = text;
    let mut all = String::new();
    while let Some(at) = rest.find('T') {
        let (before, after) = rest.split_at(at);
        let day = before.len().checked_sub(10).and_then(|from| before.get(from..));
        let is_day = day.is_some_and(|day| {
            day.chars().all(|c| c.is_ascii_digit() || c == '-') && day.matches('-').count() == 2
        });
        let end = after.find('Z').filter(|_| is_day);
        match end {
            Some(end) => {
                all += &before[..before.len() - 10];
                all += "<time>";
                rest = &after[end + 1..];
            }
            None => {
                all += &rest[..=at];
                rest = &rest[at + 1..];
            }
        }
    }
    all + rest
}

#[test]
fn a_name_is_whose_all_its_servers_show_and_the_others_learn_nothing() -> Outcome {
    const LIMIT: Duration = Duration::from_secs(300);
    netns::inside_within(LIMIT, |world: &World| {
        let internet = Internet::start(world)?;
        let servers = NameServers::start(world, &internet)?;
        let (product, clock) = Product::start_with_a_clock(world, &internet)?;
        let mut tokens = Vec::new();
        let mut stranger = String::new();
        over_grpc(&product, async |_, channel| {
            for id in WORKSPACES {
                add_workspace(&channel, id).await?;
                tokens.push(make_token(&channel, id, Role::DomainManager, &[]).await?);
            }
            add_workspace(&channel, "stranger").await?;
            stranger = make_token(&channel, "stranger", Role::DomainManager, &[]).await?;
            Ok(())
        })?;
        let names = tokens.into_iter().zip(ALONE);
        let mut tenants: Vec<Tenant<'_>> =
            names.map(|(token, alone)| Tenant { product: &product, token, alone }).collect();
        tenants.shuffle(&mut rand::rng());
        for tenant in &tenants {
            tenant.claim(WANTED)?;
            tenant.claim(tenant.alone)?;
        }
        // Who comes first in asking is who comes last in the zone.
        let [bystander, heir, owner] = &tenants[..] else {
            return Err(Failure::new("three workspaces"));
        };

        // The servers do not agree: nobody's claim is proven, and nothing is served.
        servers.show_claim(0, heir)?;
        servers.show_claim(1, owner)?;
        for tenant in &tenants {
            for _ in 0..3 {
                tenant.does(&["dns", "check", WANTED])?;
            }
            assert_eq!(tenant.state(WANTED)?, "HOSTING_STATE_PENDING");
            tenant.is_as_if_alone("while the servers disagree")?;
        }
        assert!(curl::fetch(URL, internet.authority.issuer_file()).is_err());
        assert!(!internet.authority.log()?.contains(WANTED), "the CA was asked for nothing");

        // They agree.
        servers.both_show_claim(owner)?;
        owner.does(&["dns", "check", WANTED])?;
        owner.until_state_is("HOSTING_STATE_ACTIVE")?;
        let served =
            wait::until(SOON, "the policy", || curl::fetch(URL, internet.authority.issuer_file()))?;
        assert!(served.contains("mode: testing"), "{served}");
        let id = wait::until(SOON, "an id", || {
            let shown = owner.does(&["policy", "show", WANTED]).map_err(|e| e.to_string())?;
            match shown["policyId"].as_str() {
                Some(id) if !id.is_empty() => Ok(id.to_owned()),
                _ => Err(shown.to_string()),
            }
        })?;
        for server in 0..2 {
            servers.show(server, "_mta-sts", "TXT", &format!("\"v=STSv1; id={id}\""))?;
        }
        owner.does(&["policy", "set", WANTED, "--max-age", "2d"])?;
        // What the others do in the meantime tells them nothing either.
        for name in [WANTED, bystander.alone] {
            bystander.does(&["policy", "set", name, "--max-age", "3d"])?;
        }
        for other in [bystander, heir] {
            assert_eq!(other.state(WANTED)?, "HOSTING_STATE_PENDING");
            other.is_as_if_alone("while it is another's")?;
        }
        nothing_is_told_to_a_stranger(&product, &stranger)?;

        // It moves: not at once, but when it has been shown for five minutes.
        servers.both_show_claim(heir)?;
        for _ in 0..3 {
            heir.does(&["dns", "check", WANTED])?;
        }
        assert_eq!(heir.state(WANTED)?, "HOSTING_STATE_PENDING");
        assert_eq!(owner.state(WANTED)?, "HOSTING_STATE_ACTIVE");
        bystander.is_as_if_alone("while it moves")?;
        let (mut ahead, mut set_at) = (Duration::ZERO, None::<Instant>);
        wait::until(SOON, "the name to pass on", || {
            // The first look has no mark that shows: so the clock goes on until there was a second.
            if set_at.is_none_or(|at| at.elapsed() > Duration::from_secs(3)) {
                ahead += BETWEEN_LOOKS;
                clock.go_ahead_by(ahead).map_err(|failure| failure.to_string())?;
                set_at = Some(Instant::now());
            }
            match heir.state(WANTED).map_err(|failure| failure.to_string())? {
                state if state == "HOSTING_STATE_ACTIVE" => Ok(()),
                state => Err(state),
            }
        })?;
        owner.until_state_is("HOSTING_STATE_OFF")?;
        wait::until(SOON, "the new owner's policy", || {
            let served = curl::fetch(URL, internet.authority.issuer_file());
            match served.map_err(|failure| failure.to_string())? {
                served if served.contains("max_age: 86400") => Ok(()),
                served => Err(served),
            }
        })?;
        bystander.is_as_if_alone("after it has moved")?;
        let shows = dig::ask(World::NAME_SERVERS[0], "mta-sts.wanted.test", "CNAME")?;
        assert_eq!(shows, [format!("{}.", heir.target(WANTED)?)]);
        Ok(())
    })
}

/// Who has no claim is told of the owned name what they are told of one that is nowhere.
fn nothing_is_told_to_a_stranger(product: &Product, stranger: &str) -> Outcome {
    over_grpc(product, async |_, channel| {
        for rpc in rpcs().into_iter().filter(|rpc| rpc.domain.is_some()) {
            // Adding it is everybody's right, and a look-up of MX asks nobody's.
            if ["/AddDomain", "/LookupMx"].iter().any(|name| rpc.path.ends_with(name)) {
                continue;
            }
            let ask = async |name: &str| {
                let message = rpc.request(&[(rpc.domain_field.as_str(), name)]);
                let asked = with(
                    tonic::Request::new(message),
                    "authorization",
                    &format!("Bearer {stranger}"),
                );
                let said = raw(&channel, &rpc.path, asked).await;
                let told = said.as_ref().err().map(wire::status::told);
                let told = told.map(|told| {
                    let mut metadata: Vec<_> = told.metadata.into_iter().collect();
                    metadata.sort();
                    format!("{} {metadata:?}", told.message).replace(name, "<name>")
                });
                let length = said.as_ref().err().map(|said| said.details().len());
                (reason(&said), told, length)
            };
            let (there, nowhere) = (ask(WANTED).await, ask(NOWHERE).await);
            assert_eq!(there, nowhere, "{}", rpc.path);
            assert_ne!(there.0, "OK", "{}", rpc.path);
        }
        Ok(())
    })
}
