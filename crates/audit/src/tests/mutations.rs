//! Two hundred mutations of the chains by SQL, each on a copy of its own: every one is found.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::mutation::{History, KINDS};
use super::world::World;
use crate::Record;

const MUTATIONS: usize = 220;

/// A kind that hardly ever changes anything would not be tested by counting on.
const AT_LEAST_EACH: usize = 3;

#[tokio::test]
async fn every_mutation_by_sql_is_found_and_no_later_record_hides_it() {
    let seed = std::env::var("DMARCER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(2026);
    println!("DMARCER_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let template = World::new().await;
    template.some_history().await;
    let history = History::of(&template).await;
    let before = template.dump().await;
    assert!(template.audit.verify_all().await.unwrap().iter().all(crate::Chain::is_whole));

    let mut found: HashMap<&str, usize> = HashMap::new();
    for kind in KINDS.iter().cycle().take(KINDS.len() * 50) {
        if found.values().sum::<usize>() >= MUTATIONS
            && KINDS.iter().all(|kind| found.get(kind).is_some_and(|n| *n >= AT_LEAST_EACH))
        {
            break;
        }
        let sql = history.mutation(kind, &mut rng);
        let world = template.copy().await;
        // What the database refuses, or what changes nothing, is no mutation.
        if world.sql(&sql).await.is_err() || world.dump().await == before {
            continue;
        }
        let chains = world.audit.verify_all().await.unwrap();
        assert!(chains.iter().any(|chain| !chain.is_whole()), "not found: {kind}: {sql}");
        *found.entry(kind).or_default() += 1;
        if !kind.starts_with("insert a chain") {
            let mut whole = true;
            for workspace in ["acme", "globex", "initech", "platform"] {
                whole &= world.audit.verify(workspace).await.unwrap().is_whole();
            }
            assert!(!whole, "not found by those whose chain it is: {kind}: {sql}");
        }

        for workspace in ["acme", "globex", "initech", "new"] {
            // It may fail, and with it the change that it tells of.
            let _ = world.record_all(vec![Record::by_itself(workspace, "a.b", "c")]).await;
        }
        let chains = world.audit.verify_all().await.unwrap();
        assert!(chains.iter().any(|chain| !chain.is_whole()), "hidden later: {kind}: {sql}");
    }
    let total: usize = found.values().sum();
    println!("{total} mutations of {} kinds: {found:?}", found.len());
    for kind in KINDS {
        let found = found.get(kind).copied().unwrap_or(0);
        assert!(found >= AT_LEAST_EACH, "{kind}: only {found}");
    }
    assert!(total >= 200, "only {total}");
}
