//! The gRPC API before callers who send what they should not: each gets a clear error, and nothing
//! that was there is lost.

use std::time::Duration;

use dmarcer_tests::{Outcome, Product, World, netns};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wire::control::domain_service_client::DomainServiceClient;
use wire::control::policy_service_client::PolicyServiceClient;
use wire::control::region_service_client::RegionServiceClient;
use wire::{control, status};

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(header) = MetadataValue::try_from(format!("Bearer {token}")) {
        request.metadata_mut().insert("authorization", header);
    }
    request
}

fn call<T>(message: T) -> Request<T> {
    with_token(message, Product::TOKEN)
}

async fn connect() -> Outcome<Channel> {
    Ok(Channel::from_static(Product::SERVER).connect().await?)
}

/// Runs `body` against an installation without DNS and CA: nothing here needs them.
fn against_a_server(body: impl AsyncFnOnce(Channel) -> Outcome) -> impl FnOnce(&World) -> Outcome {
    move |world| {
        let _product = Product::start_alone(world)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { body(connect().await?).await })
    }
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    match answer {
        Ok(answer) => (Code::Ok, format!("{answer:?}")),
        Err(said) => (said.code(), status::told(&said).reason),
    }
}

#[test]
fn without_a_good_token_nothing_is_told() -> Outcome {
    netns::inside(|world| {
        against_a_server(async |channel| {
            let mut domains = DomainServiceClient::new(channel);
            let list = control::ListDomainsRequest::default();
            let none = domains.list_domains(list.clone()).await;
            assert_eq!(reason(none), (Code::Unauthenticated, "TOKEN_REQUIRED".into()));
            for token in ["", "x", "journey-admin-toke", "journey-admin-tokenx", &"y".repeat(4000)]
            {
                let refused = domains.list_domains(with_token(list.clone(), token)).await;
                assert_eq!(refused.map_err(|said| said.code()).unwrap_err(), Code::Unauthenticated);
            }
            Ok(())
        })(world)
    })
}

#[test]
fn names_that_are_none_are_refused_and_change_nothing() -> Outcome {
    netns::inside(|world| {
        against_a_server(async |channel| {
            let mut domains = DomainServiceClient::new(channel.clone());
            let mut policies = PolicyServiceClient::new(channel);
            let long = "a.".repeat(5000);
            let names = [
                "",
                ".",
                "com",
                "co.uk",
                "*.example.com",
                "x..y",
                "_dmarc.example.com",
                "192.0.2.1",
                "127.1",
                "::1",
                "example.com:443",
                "https://example.com/",
                "me@example.com",
                "mta-sts.example.com",
                "'; DROP TABLE claims; --",
                "<script>.example.com",
                "a\u{0}b.example.com",
                "a\r\nb.example.com",
                "\u{202e}moc.example.com",
                "xn--a.example.com",
                &long,
            ];
            for name in names {
                let add = control::AddDomainRequest { name: name.to_owned(), kind: 0 };
                let (code, why) = reason(domains.add_domain(call(add)).await);
                assert_eq!(
                    (code, why.as_str()),
                    (Code::InvalidArgument, "INVALID_DOMAIN"),
                    "{name:?}"
                );
                let show = control::GetPolicyRequest { name: name.to_owned() };
                let (code, _) = reason(policies.get_policy(call(show)).await);
                assert_eq!(code, Code::InvalidArgument, "{name:?}");
            }
            let list = control::ListDomainsRequest::default();
            assert!(domains.list_domains(call(list)).await?.into_inner().items.is_empty());

            // Two spellings of one name are one name.
            let add = |name: &str| control::AddDomainRequest { name: name.to_owned(), kind: 0 };
            domains.add_domain(call(add("Example.COM."))).await?;
            let (code, why) = reason(domains.add_domain(call(add("example\u{3002}com"))).await);
            assert_eq!((code, why.as_str()), (Code::AlreadyExists, "DOMAIN_EXISTS"));
            Ok(())
        })(world)
    })
}

#[test]
fn odd_requests_are_answered_with_a_sentence() -> Outcome {
    netns::inside(|world| {
        against_a_server(async |channel| {
            let mut domains = DomainServiceClient::new(channel.clone());
            let mut policies = PolicyServiceClient::new(channel.clone());
            let mut regions = RegionServiceClient::new(channel);
            let add = control::AddDomainRequest { name: "example.com".into(), kind: 0 };
            domains.add_domain(call(add)).await?;

            let negative = control::ListDomainsRequest { page_size: -1, ..Default::default() };
            let (code, _) = reason(domains.list_domains(call(negative)).await);
            assert_eq!(code, Code::InvalidArgument);
            let huge = control::ListDomainsRequest { page_size: i32::MAX, ..Default::default() };
            assert_eq!(domains.list_domains(call(huge)).await?.into_inner().items.len(), 1);
            let wild = control::ListDomainsRequest { contains: "%".into(), ..Default::default() };
            assert!(domains.list_domains(call(wild)).await?.into_inner().items.is_empty());

            let unknown = control::ConvertDomainRequest { name: "example.com".into(), kind: 999 };
            let (code, _) = reason(domains.convert_domain(call(unknown)).await);
            assert_eq!(code, Code::InvalidArgument);

            let promote = control::PromotePolicyRequest {
                name: "example.com".into(),
                accept: vec!["all".into()],
                ..Default::default()
            };
            let (code, why) = reason(policies.promote_policy(call(promote)).await);
            assert_eq!((code, why.as_str()), (Code::InvalidArgument, "UNKNOWN_CHECK"));

            for (id, host, reports) in [
                ("a/b", "sts.example.net", ""),
                ("eu-1", "not a host", ""),
                ("eu-1", "sts.example.net", "no address"),
            ] {
                let add = control::AddRegionRequest {
                    id: id.into(),
                    host: host.into(),
                    reports: reports.into(),
                    ..Default::default()
                };
                let (code, _) = reason(regions.add_region(call(add)).await);
                assert_eq!(code, Code::InvalidArgument, "{id} {host} {reports}");
            }

            let mut late = call(control::ListDomainsRequest::default());
            late.set_timeout(Duration::from_nanos(1));
            let (code, _) = reason(domains.list_domains(late).await);
            assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded), "{code:?}");

            let flood = control::SetPolicyRequest {
                name: "example.com".into(),
                mx: vec!["mx.example.com".into(); 400_000],
                ..Default::default()
            };
            let (code, _) = reason(policies.set_policy(call(flood)).await);
            assert!(matches!(code, Code::OutOfRange | Code::ResourceExhausted), "{code:?}");

            let list = control::ListDomainsRequest::default();
            assert_eq!(domains.list_domains(call(list)).await?.into_inner().items.len(), 1);
            Ok(())
        })(world)
    })
}

#[test]
fn every_service_says_that_it_is_healthy() -> Outcome {
    netns::inside(|world| {
        against_a_server(async |channel| {
            let mut health = HealthClient::new(channel);
            for service in [
                "",
                "dmarcer.control.v1.RegionService",
                "dmarcer.control.v1.DomainService",
                "dmarcer.control.v1.PolicyService",
                "dmarcer.control.v1.FleetService",
                "dmarcer.control.v1.ClaimService",
                "dmarcer.dns.v1.RecordService",
                "dmarcer.issuer.v1.CertificateService",
                "dmarcer.intake.v1.ActivityService",
            ] {
                let asked = HealthCheckRequest { service: service.to_owned() };
                let answer = health.check(asked).await?.into_inner();
                assert_eq!(answer.status, 1, "{service}");
            }
            Ok(())
        })(world)
    })
}

#[test]
fn reflection_answers_old_clients_and_new_ones() -> Outcome {
    use tonic_reflection::pb::{v1, v1alpha};
    netns::inside(|world| {
        against_a_server(async |channel| {
            let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
            let asked =
                v1::ServerReflectionRequest { message_request: Some(list), ..Default::default() };
            let mut new =
                v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let asked = tokio_stream::once(asked);
            let answer = new.server_reflection_info(asked).await?.into_inner().message().await?;
            let listed = format!("{answer:?}");

            let list =
                v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
            let asked = v1alpha::ServerReflectionRequest {
                message_request: Some(list),
                ..Default::default()
            };
            let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
            let asked = tokio_stream::once(asked);
            let answer = old.server_reflection_info(asked).await?.into_inner().message().await?;
            let listed_before = format!("{answer:?}");

            for service in ["dmarcer.control.v1.PolicyService", "grpc.health.v1.Health"] {
                assert!(listed.contains(service), "{listed}");
                assert!(listed_before.contains(service), "{listed_before}");
            }
            Ok(())
        })(world)
    })
}
