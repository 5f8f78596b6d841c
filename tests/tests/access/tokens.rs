//! Tokens that are not good, at every service.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dmarcer_tests::calls::{
    alone, by, by_admin, connect_from, make_token, over_grpc, raw, reason, refused,
};
use dmarcer_tests::{Failure, Outcome, Product, netns, wait};
use tonic::transport::Channel;
use wire::access::{Role, rpcs};
use wire::control;
use wire::control::token_service_client::TokenServiceClient;

use crate::{is_refused_access, request};

/// One RPC of each service, which any role may call.
pub(crate) const ONE_OF_EACH: [&str; 4] = [
    "/dmarcer.control.v1.DomainService/ListDomains",
    "/dmarcer.dns.v1.RecordService/ListRecords",
    "/dmarcer.issuer.v1.CertificateService/GetCertificate",
    "/dmarcer.intake.v1.ActivityService/GetActivity",
];

/// What each service says to this token.
async fn said_by_each(channel: &Channel, token: Option<&str>) -> Outcome<Vec<String>> {
    let mut said = Vec::new();
    for path in ONE_OF_EACH {
        let rpc = rpcs().into_iter().find(|rpc| rpc.path == path);
        let rpc = rpc.ok_or_else(|| Failure::new(format!("there is no {path}")))?;
        said.push(reason(&raw(channel, path, by(token, request(&rpc))).await));
    }
    Ok(said)
}

async fn is_taken_by_none(channel: &Channel, what: &str, token: &str) -> Outcome {
    let said = said_by_each(channel, Some(token)).await?;
    assert!(said.iter().all(|reason| reason == "TOKEN_INVALID"), "{what}: {said:?}");
    Ok(())
}

pub(crate) async fn is_taken_by_all(channel: &Channel, what: &str, token: &str) -> Outcome {
    let said = said_by_each(channel, Some(token)).await?;
    assert!(!said.iter().any(|reason| is_refused_access(reason)), "{what}: {said:?}");
    Ok(())
}

/// The letter after this one, in the alphabet of tokens.
fn next_letter(letter: char) -> char {
    const LETTERS: &str = "0123456789abcdefghjkmnpqrstvwxyz0";
    let at = LETTERS.find(letter).unwrap_or_default();
    LETTERS.chars().nth(at + 1).unwrap_or('0')
}

/// The text with one letter changed.
fn changed(text: &str, at: usize) -> String {
    text.chars().enumerate().map(|(i, c)| if i == at { next_letter(c) } else { c }).collect()
}

/// With the checksum that a forger would compute: CRC-32 of all before it, five bits a letter.
fn with_checksum(before: &str) -> String {
    let crc = before.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let letters: Vec<char> = "0123456789abcdefghjkmnpqrstvwxyz".chars().collect();
    let sum = (0..7_u32).rev().map(|at| letters[(u64::from(!crc) >> (5 * at)) as usize & 31]);
    before.chars().chain(sum).collect()
}

#[test]
fn a_token_that_is_not_whole_and_good_is_nobodys_at_every_service() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let token = make_token(&channel, "default", Role::PlatformAdmin, &[]).await?;
            is_taken_by_all(&channel, "as it was made", &token).await?;
            let before_checksum = &token[..token.len() - 7];
            assert_eq!(with_checksum(before_checksum), token, "a checksum as we compute it");

            let wrong = [
                ("truncated by one letter", token[..token.len() - 1].to_owned()),
                ("with a letter more", format!("{token}0")),
                ("a wrong checksum", changed(&token, token.len() - 1)),
                ("another secret", changed(&token, 20)),
                ("another secret with its checksum", with_checksum(&changed(before_checksum, 20))),
                ("another id with its checksum", with_checksum(&changed(before_checksum, 5))),
                ("in capitals", token.to_uppercase()),
                ("another prefix", token.replacen("dmr_", "dmx_", 1)),
                ("its id", token[4..16].to_owned()),
                ("twice", format!("{token}{token}")),
                ("with a comma", format!("{token},{token}")),
                ("the admin's with a letter changed", changed(Product::TOKEN, 8)),
                ("the admin's in capitals", Product::TOKEN.to_uppercase()),
                ("the admin's id", "admin".to_owned()),
                ("an empty hash", "0".repeat(64)),
                ("four thousand letters", "y".repeat(4000)),
            ];
            // From several addresses: whoever presents too many wrong ones is held up.
            for (at, (what, token)) in wrong.iter().enumerate() {
                let from = Ipv4Addr::new(127, 0, 1, u8::try_from(at)? + 1);
                is_taken_by_none(&connect_from(IpAddr::V4(from)).await?, what, token).await?;
            }
            for nothing in ["", " "] {
                let said = said_by_each(&channel, Some(nothing)).await?;
                assert!(said.iter().all(|reason| reason == "TOKEN_REQUIRED"), "{said:?}");
            }
            is_taken_by_all(&channel, "after all that", &token).await
        })
    })
}

#[test]
fn a_revoked_token_fails_within_a_second_at_every_service() -> Outcome {
    netns::inside(|world| {
        alone(world, async |_, channel| {
            let token = make_token(&channel, "default", Role::DomainManager, &[]).await?;
            let other = make_token(&channel, "default", Role::DomainManager, &[]).await?;
            is_taken_by_all(&channel, "before", &token).await?;
            let id = token[4..16].to_owned();
            let revoke = control::RevokeTokenRequest { id, made_with_it_too: false };
            let mut tokens = TokenServiceClient::new(channel.clone());
            tokens.revoke_token(by_admin(revoke)).await.map_err(refused)?;
            let revoked_at = Instant::now();
            wait::until_async(Duration::from_secs(5), "the token to fail everywhere", async || {
                let said = said_by_each(&channel, Some(&token)).await.map_err(|e| e.to_string())?;
                let gone = said.iter().all(|reason| reason == "TOKEN_INVALID");
                if gone { Ok(()) } else { Err(format!("{said:?}")) }
            })
            .await?;
            let took = revoked_at.elapsed();
            assert!(took < Duration::from_secs(1), "it was taken for {took:?}");
            is_taken_by_all(&channel, "another one", &other).await
        })
    })
}

#[test]
fn an_expired_token_is_nobodys() -> Outcome {
    netns::inside(|world| {
        let (mut product, clock) = Product::start_alone_with_a_clock(world)?;
        let (mut short, mut long) = (String::new(), String::new());
        over_grpc(&product, async |_, channel| {
            long = make_token(&channel, "default", Role::ReadOnly, &[]).await?;
            let create = control::CreateTokenRequest {
                name: "an hour".to_owned(),
                expires_after_seconds: 3600,
                ..Default::default()
            };
            let mut tokens = TokenServiceClient::new(channel.clone());
            let made = tokens.create_token(by_admin(create)).await.map_err(refused)?;
            short = made.into_inner().secret;
            is_taken_by_all(&channel, "at first", &short).await
        })?;
        clock.go_ahead_by(Duration::from_secs(3601))?;
        over_grpc(&product, async |_, channel| {
            wait::until_async(Duration::from_secs(10), "the hour to be over", async || {
                let said = said_by_each(&channel, Some(&short)).await.map_err(|e| e.to_string())?;
                let gone = said.iter().all(|reason| reason == "TOKEN_INVALID");
                if gone { Ok(()) } else { Err(format!("{said:?}")) }
            })
            .await?;
            is_taken_by_all(&channel, "one with more time", &long).await
        })?;
        product.kill();
        Ok(())
    })
}
