//! One effect for each key.

use jiff::SignedDuration;
use store::sqlx::query_scalar;

use super::world::{World, call};
use crate::{BeginError, Begun};

/// Begins, and commits.
async fn begin(world: &World, key: &str, body: &str) -> Result<Begun, BeginError> {
    begin_in("acme", world, key, body).await
}

async fn begin_in(
    workspace: &str,
    world: &World,
    key: &str,
    body: &str,
) -> Result<Begun, BeginError> {
    let mut write = world.store.write().await.unwrap();
    let begun = world.audit.begin(&mut write, &call(workspace, Some((key, body)))).await?;
    write.commit().await.unwrap();
    Ok(begun)
}

#[tokio::test]
async fn the_second_time_is_done_and_another_request_is_refused() {
    let world = World::new().await;
    assert_eq!(begin(&world, "k", "body").await.unwrap(), Begun::First);
    assert_eq!(begin(&world, "k", "body").await.unwrap(), Begun::Done);
    assert!(matches!(begin(&world, "k", "other").await, Err(BeginError::KeyReused)));
    assert_eq!(begin(&world, "k2", "other").await.unwrap(), Begun::First);
}

#[tokio::test]
async fn each_caller_has_keys_of_their_own_in_each_workspace() {
    let world = World::new().await;
    assert_eq!(begin(&world, "k", "body").await.unwrap(), Begun::First);
    assert_eq!(begin_in("globex", &world, "k", "body").await.unwrap(), Begun::First);
    let mut other = call("acme", Some(("k", "body")));
    other.caller.as_mut().unwrap().id = "person:bob".to_owned();
    let mut write = world.store.write().await.unwrap();
    assert_eq!(world.audit.begin(&mut write, &other).await.unwrap(), Begun::First);
}

#[tokio::test]
async fn a_call_without_a_key_is_always_the_first() {
    let world = World::new().await;
    for _ in 0..2 {
        let mut write = world.store.write().await.unwrap();
        let begun = world.audit.begin(&mut write, &call("acme", None)).await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(begun, Begun::First);
    }
}

#[tokio::test]
async fn a_change_that_was_not_committed_has_used_no_key() {
    let world = World::new().await;
    let mut write = world.store.write().await.unwrap();
    let begun = world.audit.begin(&mut write, &call("acme", Some(("k", "body")))).await.unwrap();
    assert_eq!(begun, Begun::First);
    drop(write);
    assert_eq!(begin(&world, "k", "other").await.unwrap(), Begun::First);
}

#[tokio::test]
async fn of_many_at_once_one_is_the_first() {
    let world = World::new().await;
    for round in 0..5 {
        let begins: Vec<_> = (0..6)
            .map(|_| {
                let (audit, store) = (world.audit.clone(), world.store.clone());
                tokio::spawn(async move {
                    let mut write = store.write().await.unwrap();
                    let call = call("acme", Some((&format!("k{round}"), "body")));
                    let begun = audit.begin(&mut write, &call).await.unwrap();
                    write.commit().await.unwrap();
                    begun
                })
            })
            .collect();
        let mut firsts = 0;
        for begin in begins {
            firsts += u32::from(begin.await.unwrap() == Begun::First);
        }
        assert_eq!(firsts, 1);
    }
}

#[tokio::test]
async fn a_key_counts_for_a_day_and_is_then_swept_away() {
    let world = World::new().await;
    // More than two batches.
    let mut write = world.store.write().await.unwrap();
    for n in 0..1_110 {
        let call = call("acme", Some((&n.to_string(), "body")));
        world.audit.begin(&mut write, &call).await.unwrap();
    }
    write.commit().await.unwrap();
    world.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(begin(&world, "0", "body").await.unwrap(), Begun::Done);
    assert_eq!(begin(&world, "young", "body").await.unwrap(), Begun::First);
    world.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(begin(&world, "0", "other").await.unwrap(), Begun::First);
    assert_eq!(world.audit.sweep().await.unwrap(), 1_109);
    let left: i64 =
        query_scalar("SELECT count(*) FROM calls").fetch_one(world.store.read()).await.unwrap();
    assert_eq!(left, 2);
    assert_eq!(begin(&world, "young", "body").await.unwrap(), Begun::Done);
}
