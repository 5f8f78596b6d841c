//! A whole process, on ports and folders of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use wire::control::{GetFleetStatusRequest, ListRegionsRequest};

use super::{Running, start};
use crate::cli::client::{Client, PAGE_SIZE};
use crate::config::Config;

/// Databases are made in less than a second; this machine may be busy.
const SOON: Duration = Duration::from_secs(30);

fn config(folder: &Path) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { data_dir: folder.to_owned(), ..Config::default() };
    config.control.listen = any;
    config.dns.resolvers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))];
    config.issuer.kind = issuer::Kind::Local;
    config.edge =
        Some(edge::Config { https: vec![any], http: vec![any], ..edge::Config::default() });
    config.region = vec![control::RegionConfig {
        id: "eu-1".to_owned(),
        name: None,
        host: "eu-1.sts.example.net".to_owned(),
        reports: None,
    }];
    config
}

fn client(running: &Running, token: &str) -> Client {
    Client::new(&format!("http://{}", running.addresses.grpc), Some(token)).unwrap()
}

async fn ready(config: Config) -> Running {
    let running = start(config).await.unwrap();
    timeout(SOON, running.ready()).await.expect("every service starts");
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_answer_and_a_second_start_knows_the_same_token() {
    let folder = tempfile::Builder::new().prefix("a folder?").tempdir().unwrap();
    let first = ready(config(folder.path())).await;
    let token = first.admin.token.clone();
    assert!(first.admin.made_in.is_some());
    assert_eq!(first.addresses.edge.as_ref().unwrap().region, "eu-1");
    first.stop().await;

    let second = ready(config(folder.path())).await;
    let client = client(&second, token.expose());
    let request = ListRegionsRequest { page_size: PAGE_SIZE, page_token: String::new() };
    let regions = client.answer(client.regions().list_regions(request).await).unwrap().items;
    assert_eq!(regions[0].id, "eu-1");
    let fleet = client.fleet().get_fleet_status(GetFleetStatusRequest {}).await;
    let status = client.answer(fleet).unwrap().status.unwrap();
    assert!(status.services.iter().all(|service| service.serving), "{status:?}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_start_takes_nothing_down_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    // A folder where a database should be.
    let obstacle = folder.path().join("control.db");
    std::fs::create_dir(&obstacle).unwrap();
    let running = start(config(folder.path())).await.unwrap();
    let edge = running.addresses.edge.clone().unwrap();
    tokio::net::TcpStream::connect(edge.https[0]).await.unwrap();

    std::fs::remove_dir(&obstacle).unwrap();
    timeout(SOON, running.ready()).await.expect("control starts once it can");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(config(folder.path())).await.unwrap();
    let refused = start(config(folder.path())).await.err().unwrap();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = ready(config(folder.path())).await;
    let client = client(&running, "wrong");
    let fleet = client.fleet().get_fleet_status(GetFleetStatusRequest {}).await;
    assert_eq!(client.answer(fleet).unwrap_err().reason(), "TOKEN_INVALID");
    running.stop().await;
}
