//! Three workspaces claim one name, its name servers say what they say, and time passes.
//!
//! After each step, whatever came before it:
//!
//! * the owner is who the zone has named: the first whom all of its servers showed, and from then on who
//!   was shown by all of them, with the owner before gone, at all looks of five minutes;
//! * at most one claim is proven, and what edges serve under the name is the owner's;
//! * the mark of a claim that was given up proves nothing any more;
//! * a workspace is told what it would be told if no other one existed. It learns two things only, which
//!   are its own: when its claim is proven (where the name has an owner, that takes two looks instead of
//!   one), and that its proof is lost, with which its hosting ends.
//!
//! What edges serve, and all that everybody is told, is looked at whenever the owner has changed, and at
//! the end; else only the answers of the calls themselves.
//!
//! It is no failure that a call is refused: nonsense is asked for here, too.
//!
//! [`model`] says what ought to be.
//!
//! *Alone* is a world of its own for each workspace, in which nobody else calls, and in which its claim is
//! proven and lost at the moments at which it is in the common one.

mod model;

use std::collections::HashMap;
use std::fmt::Debug;

use hosting::Claim;
use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use service::clock::Clock as _;
use store::sqlx::any::AnyRow;
use store::sqlx::{Row as _, query};
use tonic::{Response, Status};
use wire::control as v1;
use wire::control::domain_service_server::DomainService;
use wire::control::policy_service_server::PolicyService;
use wire::control::workspace_service_server::WorkspaceService;
use wire::dns;
use wire::status::told;

use self::model::{LONG_ENOUGH, Model, Place, SERVERS, Server, WORKSPACES};
use super::world::{World, request_of};
use crate::sql::ClaimRow;

/// As many sequences are tried.
const CASES: u32 = 64;
/// After so long, each claim is due for a look.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_secs(61);

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Adds the name, to a workspace.
    Add(usize),
    Activate(usize),
    /// Gives the claim up. Where it is hosted, its stop has run to its end before.
    Remove(usize),
    /// A name server shows something else from now on.
    Show(usize, Record, Mark),
    /// All name servers do.
    ShowAll(Record, Mark),
    /// A name server fails, or is back.
    Fail(usize, bool),
    /// Time passes, and then everybody is looked at.
    Look(SignedDuration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Cname,
    Txt,
}

/// Whom a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nobody,
    /// The claim that a workspace has now.
    Of(usize),
    /// The last claim that a workspace gave up.
    Former(usize),
}

/// The common world, and one for each workspace alone.
struct Worlds {
    together: World,
    alone: Vec<World>,
    /// Names that were used.
    names: usize,
}

impl Worlds {
    async fn start() -> Worlds {
        let together = World::start().await;
        let mut alone = Vec::new();
        for workspace in WORKSPACES {
            let world = World::start().await;
            add_workspace(&world, workspace).await;
            add_workspace(&together, workspace).await;
            alone.push(world);
        }
        Worlds { together, alone, names: 0 }
    }

    fn all(&self) -> impl Iterator<Item = &World> {
        std::iter::once(&self.together).chain(&self.alone)
    }

    /// Goes through a sequence with a name that nobody has used before.
    async fn go_through(&mut self, ops: &[Op]) -> Result<(), TestCaseError> {
        self.names += 1;
        let name = format!("case-{}.example.com", self.names);
        let mut run = Run { worlds: self, name, model: Model::default() };
        for (at, op) in ops.iter().enumerate() {
            let step = format!("step {at}, {op:?}");
            let owner = run.model.owner;
            run.take(*op, &step).await?;
            match op {
                // Nobody has looked at what a server shows, so nothing has happened.
                Op::Show(..) | Op::ShowAll(..) | Op::Fail(..) => continue,
                // What it was answered has been compared.
                Op::Add(_) | Op::Activate(_) => continue,
                _ => run.check(&step).await?,
            }
            if owner != run.model.owner {
                run.check_served(&step).await?;
                run.compare(&step).await?;
            }
        }
        run.check("the end").await?;
        run.check_served("the end").await?;
        run.compare("the end").await?;
        run.end().await;
        Ok(())
    }
}

async fn add_workspace(world: &World, id: &str) {
    let add = v1::AddWorkspaceRequest { id: id.to_owned(), name: String::new() };
    let added = world.api.add_workspace(request_of("default", add)).await;
    assert!(added.is_ok(), "{added:?}");
}

/// A claim as it is stored, as far as it matters here.
struct Stored {
    who: usize,
    id: String,
    nonce: String,
    hosted: bool,
    proven: bool,
}

struct Run<'a> {
    worlds: &'a Worlds,
    name: String,
    model: Model,
}

impl Run<'_> {
    async fn take(&mut self, op: Op, step: &str) -> Result<(), TestCaseError> {
        match op {
            Op::Add(who) => {
                let add = v1::AddDomainRequest { name: self.name.clone(), kind: 0 };
                let call = async |world: &World| {
                    world.api.add_domain(request_of(WORKSPACES[who], add.clone())).await
                };
                let (together, alone) = self.both(who, call).await;
                prop_assert_eq!(together, alone, "{}", step);
                let row = self.row(&self.worlds.together, who).await;
                self.model.places[who].nonce = row.map(|row| row.claim.nonce.to_string());
            }
            Op::Activate(who) => {
                let activate =
                    v1::ActivateHostingRequest { name: self.name.clone(), region: String::new() };
                let call = async |world: &World| {
                    let asked = request_of(WORKSPACES[who], activate.clone());
                    world.api.activate_hosting(asked).await
                };
                let (together, alone) = self.both(who, call).await;
                prop_assert_eq!(together, alone, "{}", step);
                let place = &mut self.model.places[who];
                place.hosted = place.nonce.is_some();
            }
            Op::Remove(who) => {
                for world in [&self.worlds.together, &self.worlds.alone[who]] {
                    self.end_hosting(world, who).await;
                }
                let remove = v1::RemoveDomainRequest { name: self.name.clone() };
                let call = async |world: &World| {
                    let asked = request_of(WORKSPACES[who], remove.clone());
                    world.api.remove_domain(asked).await
                };
                let (together, alone) = self.both(who, call).await;
                prop_assert_eq!(together, alone, "{}", step);
                if self.model.owner == Some(who) {
                    self.model.pass_to(None);
                }
                let place = &mut self.model.places[who];
                let former = place.nonce.take().or(place.former.take());
                *place = Place { former, ..Place::default() };
            }
            Op::Show(server, record, mark) => self.show(server, record, mark),
            Op::ShowAll(record, mark) => {
                (0..SERVERS).for_each(|server| self.show(server, record, mark));
            }
            Op::Fail(server, fails) => self.model.servers[server].fails = fails,
            Op::Look(after) => self.look(after, step).await?,
        }
        Ok(())
    }

    fn show(&mut self, server: usize, record: Record, mark: Mark) {
        let mark = match mark {
            Mark::Nobody => None,
            Mark::Of(who) => self.model.places[who].nonce.clone(),
            Mark::Former(who) => self.model.places[who].former.clone(),
        };
        let server = &mut self.model.servers[server];
        match record {
            Record::Cname => server.cname = mark,
            Record::Txt => server.txt = mark,
        }
    }

    async fn look(&mut self, after: SignedDuration, step: &str) -> Result<(), TestCaseError> {
        let together = &self.worlds.together;
        let answers = self.model.servers.iter().enumerate().map(|(at, server)| answer(at, server));
        together.peers.answer_from_each(&self.name, answers.collect());
        for world in self.worlds.all() {
            world.peers.look_again(world.clock.now() + after);
            world.clock.advance(after);
        }
        self.look_at_all(together).await;

        let before = self.model.owner;
        let heirs = self.model.look(together.clock.now());
        let owner = self.owner().await;
        prop_assert!(heirs.contains(&owner), "{step}: owned by {owner:?}, not {heirs:?}");
        self.model.pass_to(owner);
        if before == owner {
            return Ok(());
        }
        if let Some(loser) = before {
            self.lose(&self.worlds.alone[loser], loser).await;
        }
        if let Some(winner) = owner {
            let alone = &self.worlds.alone[winner];
            let nonce = self.row(alone, winner).await.map(|row| row.claim.nonce.to_string());
            let shows = Server { cname: nonce, ..Server::default() };
            let answers = (0..SERVERS).map(|at| answer(at, &shows));
            alone.peers.answer_from_each(&self.name, answers.collect());
            self.look_at_all(alone).await;
            let row = self.row(alone, winner).await;
            prop_assert!(row.is_some_and(|row| row.claim.is_proven()), "{step}: alone");
        }
        Ok(())
    }

    /// Looks at every claim to the name that there is in a world.
    async fn look_at_all(&self, world: &World) {
        let domain = hosting::Domain::parse(&self.name).unwrap();
        let pool = world.core.domains.store().read();
        for workspace in WORKSPACES {
            let id = ClaimRow::id_of(pool, &workspace.parse().unwrap(), &domain).await.unwrap();
            if let Some(id) = id {
                world.core.proofs.note(&id, true, world.clock.now());
            }
        }
        world.settle_proofs().await;
    }

    async fn check(&self, step: &str) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.owner().await, self.model.owner, "{}", step);
        let rows = self.rows().await.into_iter();
        let stored: HashMap<usize, Stored> = rows.map(|row| (row.who, row)).collect();
        for (who, place) in self.model.places.iter().enumerate() {
            let row = stored.get(&who);
            prop_assert_eq!(row.map(|row| &row.nonce), place.nonce.as_ref(), "{}: {}", step, who);
            let hosted = row.is_some_and(|row| row.hosted);
            prop_assert_eq!(hosted, place.hosted, "{}: {} is hosted", step, who);
            let proven = row.is_some_and(|row| row.proven);
            prop_assert_eq!(proven, self.model.owner == Some(who), "{}: {} proven", step, who);
        }
        Ok(())
    }

    /// What edges are given under the name is the owner's.
    async fn check_served(&self, step: &str) -> Result<(), TestCaseError> {
        let together = &self.worlds.together;
        together.settle_documents().await;
        let served = together.policy_document_of(&self.name).await.map(|it| it.claim_id);
        let owner = |row: &Stored| self.model.owner == Some(row.who) && row.hosted;
        let expected = self.rows().await.into_iter().find(owner).map(|row| row.id);
        prop_assert_eq!(served, expected, "{}: what edges serve", step);
        Ok(())
    }

    /// What each workspace is told is what it is told where it is alone.
    async fn compare(&self, step: &str) -> Result<(), TestCaseError> {
        for (who, alone) in self.worlds.alone.iter().enumerate() {
            let together = self.told(&self.worlds.together, who).await;
            let alone = self.told(alone, who).await;
            prop_assert_eq!(together, alone, "{}: what {} is told", step, WORKSPACES[who]);
        }
        Ok(())
    }

    /// The claims to the name, as they are stored in the common world.
    async fn rows(&self) -> Vec<Stored> {
        let pool = self.worlds.together.core.domains.store().read();
        let rows = query("SELECT * FROM claims WHERE domain = $1 AND removed_at IS NULL")
            .bind(&self.name)
            .fetch_all(pool)
            .await;
        let text = |row: &AnyRow, column: &str| row.get::<Option<String>, _>(column);
        let stored = |row: AnyRow| {
            let workspace = text(&row, "workspace");
            Stored {
                who: WORKSPACES.iter().position(|id| Some(*id) == workspace.as_deref()).unwrap(),
                id: text(&row, "id").unwrap(),
                nonce: text(&row, "nonce").unwrap(),
                hosted: text(&row, "region").is_some(),
                proven: row.get::<Option<i64>, _>("proven_at").is_some(),
            }
        };
        rows.unwrap().into_iter().map(stored).collect()
    }

    /// Everything that a workspace is told about the name.
    async fn told(&self, world: &World, who: usize) -> Vec<String> {
        let by = WORKSPACES[who];
        let name = || self.name.clone();
        let api = &world.api;
        let domain = api.get_domain(request_of(by, v1::GetDomainRequest { name: name() })).await;
        let contains = name();
        let list = v1::ListDomainsRequest { contains, ..Default::default() };
        let list = api.list_domains(request_of(by, list)).await;
        let policy = api.get_policy(request_of(by, v1::GetPolicyRequest { name: name() })).await;
        let history = v1::ListPolicyVersionsRequest { name: name(), ..Default::default() };
        let history = api.list_policy_versions(request_of(by, history)).await;
        let rollout = api.get_rollout(request_of(by, v1::GetRolloutRequest { name: name() })).await;
        let told = [said(domain), said(list), said(policy), said(history), said(rollout)];
        self.normal(world, who, told.join("\n")).await.lines().map(str::to_owned).collect()
    }

    /// A call in the common world, and the same where its workspace is alone.
    async fn both<T: Debug>(
        &self,
        who: usize,
        call: impl AsyncFn(&World) -> Result<Response<T>, Status>,
    ) -> (String, String) {
        let (together, alone) = (&self.worlds.together, &self.worlds.alone[who]);
        let answers = (said(call(together).await), said(call(alone).await));
        let together = self.normal(together, who, answers.0).await;
        (together, self.normal(alone, who, answers.1).await)
    }

    /// An answer without what is made of random numbers, which is another one in each world, and with
    /// the claim's own revisions counted from its first.
    ///
    /// Revisions are the one number that workspaces share: a name counts them for ever, whoever holds it
    /// (`Policy.revision` in `proto/`), so there are gaps where another claim has changed its policy.
    async fn normal(&self, world: &World, who: usize, answer: String) -> String {
        let Some(row) = self.row(world, who).await else { return answer };
        let mut answer = answer.replace(row.claim.nonce.as_str(), "<nonce>");
        let pool = world.core.domains.store().read();
        let claim = &row.claim.id;
        let versions = crate::sql::VersionRow::of_claim(pool, claim, u64::MAX >> 1, 100).await;
        for (at, row) in versions.unwrap().iter().rev().enumerate() {
            let version = &row.version;
            answer = answer.replace(version.policy_id.as_str(), &format!("<id {at}>"));
            let revision = format!("revision: {},", version.revision);
            answer = answer.replace(&revision, &format!("revision: <{at}>,"));
        }
        answer
    }

    async fn row(&self, world: &World, who: usize) -> Option<ClaimRow> {
        let workspace = WORKSPACES[who].parse().unwrap();
        let domain = hosting::Domain::parse(&self.name).unwrap();
        let pool = world.core.domains.store().read();
        ClaimRow::find(pool, &workspace, &domain).await.unwrap()
    }

    /// Who owns the name.
    async fn owner(&self) -> Option<usize> {
        let domain = hosting::Domain::parse(&self.name).unwrap();
        let pool = self.worlds.together.core.domains.store().read();
        let owner = ClaimRow::owner_of(pool, &domain).await.unwrap()?;
        WORKSPACES.iter().position(|id| *id == owner.claim.workspace.as_str())
    }

    /// Nothing more is to be done for this name: the next one is not to wait for it.
    async fn end(&self) {
        let together = &self.worlds.together;
        for row in self.rows().await {
            together.core.proofs.note(&row.id.parse().unwrap(), false, together.clock.now());
        }
        if let Some(owner) = self.model.owner {
            self.end_hosting(&self.worlds.together, owner).await;
            self.end_hosting(&self.worlds.alone[owner], owner).await;
        }
    }

    /// The end of a stop, without its days.
    async fn end_hosting(&self, world: &World, who: usize) {
        let row = self.row(world, who).await.filter(|row| row.claim.hosting.is_some());
        let Some(row) = row else { return };
        let end = |row: &ClaimRow, _| {
            let claim = Claim { hosting: None, ..row.claim.clone() };
            Some(ClaimRow { claim, announced: None, none_visible_since: None, ..row.clone() })
        };
        world.core.domains.advance(&row.claim.id, "hosting.end", end).await.unwrap();
    }

    /// A workspace that is alone loses its proof, as it would to another one.
    async fn lose(&self, world: &World, who: usize) {
        let Some(row) = self.row(world, who).await else { return };
        self.end_hosting(world, who).await;
        let claim = Claim { hosting: None, ..row.claim.superseded() };
        let lost = ClaimRow { claim, announced: None, none_visible_since: None, ..row };
        let mut write = world.core.domains.store().write().await.unwrap();
        ClaimRow::set_owner(&mut write, &lost.claim.domain, None).await.unwrap();
        lost.update(&mut write).await.unwrap();
        write.commit().await.unwrap();
    }
}

fn answer(at: usize, server: &Server) -> dns::ServerAnswer {
    let target = |nonce: &String| format!("{nonce}.eu-1.region.test");
    let txt = server.txt.iter().map(|nonce| format!("dmarcer={nonce}"));
    dns::ServerAnswer {
        server: format!("ns{at}.example.com"),
        cname_target: server.cname.as_ref().map(target).unwrap_or_default(),
        proof_txt: txt.collect(),
        error: if server.fails { "on purpose".to_owned() } else { String::new() },
    }
}

fn said<T: Debug>(answer: Result<Response<T>, Status>) -> String {
    match answer {
        Ok(answer) => format!("{:?}", answer.into_inner()),
        Err(refused) => {
            let told = told(&refused);
            let metadata: std::collections::BTreeMap<_, _> = told.metadata.into_iter().collect();
            format!("{} {} {metadata:?}", told.reason, told.message)
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let who = || 0..WORKSPACES.len();
    let record = || prop_oneof![4 => Just(Record::Cname), 1 => Just(Record::Txt)];
    let mark = || {
        prop_oneof![
            6 => who().prop_map(Mark::Of),
            1 => who().prop_map(Mark::Former),
            1 => Just(Mark::Nobody),
        ]
    };
    let after = prop_oneof![
        Just(BETWEEN_LOOKS),
        Just(LONG_ENOUGH - SignedDuration::from_secs(1)),
        Just(LONG_ENOUGH),
        Just(LONG_ENOUGH * 3),
    ];
    prop_oneof![
        1 => who().prop_map(Op::Add),
        2 => who().prop_map(Op::Activate),
        1 => who().prop_map(Op::Remove),
        2 => (0..SERVERS, record(), mark()).prop_map(|(at, record, mark)| Op::Show(at, record, mark)),
        4 => (record(), mark()).prop_map(|(record, mark)| Op::ShowAll(record, mark)),
        1 => (0..SERVERS, any::<bool>()).prop_map(|(at, fails)| Op::Fail(at, fails)),
        8 => after.prop_map(Op::Look),
    ]
}

/// All claim the name, in any order: without that, little would happen.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let claims = Just([0, 1, 2].map(|who| [Op::Add(who), Op::Activate(who)]));
    let claims = claims.prop_shuffle().prop_map(|claims| claims.concat());
    (claims, prop::collection::vec(op(), 0..12)).prop_map(|(mut all, more)| {
        all.extend(more);
        all
    })
}

#[test]
fn whoever_claims_a_name_in_whatever_order_it_is_the_proven_ones() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worlds = runtime.block_on(Worlds::start());
    let worlds = std::cell::RefCell::new(worlds);
    let config = Config {
        cases: CASES,
        // Found failures are kept below, by name.
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let found = TestRunner::new(config)
        .run(&ops(), |ops| runtime.block_on(worlds.borrow_mut().go_through(&ops)));
    if let Err(found) = found {
        panic!("{found}");
    }
}

/// One sequence, with several names: what depends on who is looked at first comes out in either way.
fn go_through(ops: &[Op]) {
    const NAMES: usize = 16;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut worlds = Worlds::start().await;
        for _ in 0..NAMES {
            if let Err(found) = worlds.go_through(ops).await {
                panic!("{found}");
            }
        }
    });
}

#[test]
fn a_zone_that_names_two_at_once_takes_nothing_from_the_one_who_comes_second() {
    go_through(&[
        Op::Add(0),
        Op::Activate(0),
        Op::Add(1),
        Op::Activate(1),
        Op::ShowAll(Record::Cname, Mark::Of(0)),
        Op::ShowAll(Record::Txt, Mark::Of(1)),
        Op::Look(BETWEEN_LOOKS),
        Op::Look(LONG_ENOUGH),
    ]);
}

#[test]
fn a_name_that_could_pass_to_two_passes_to_one_and_on_from_there() {
    go_through(&[
        Op::Add(0),
        Op::Activate(0),
        Op::ShowAll(Record::Cname, Mark::Of(0)),
        Op::Look(BETWEEN_LOOKS),
        Op::Add(1),
        Op::Activate(1),
        Op::Add(2),
        Op::Activate(2),
        Op::ShowAll(Record::Cname, Mark::Of(1)),
        Op::ShowAll(Record::Txt, Mark::Of(2)),
        Op::Look(BETWEEN_LOOKS),
        Op::Look(LONG_ENOUGH),
        // Whoever has it now, the zone goes on to the third, who is the only one shown.
        Op::ShowAll(Record::Cname, Mark::Of(2)),
        Op::ShowAll(Record::Txt, Mark::Nobody),
        Op::Look(BETWEEN_LOOKS),
        Op::Look(LONG_ENOUGH),
        Op::Look(LONG_ENOUGH),
    ]);
}
