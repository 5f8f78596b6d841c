use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;
use wire::control;
use wire::control::workspace_service_client::WorkspaceServiceClient;
use wire::control::workspace_service_server::{WorkspaceService, WorkspaceServiceServer};

use super::*;

/// Makes each workspace once for a key, and remembers what calls carried.
#[derive(Default)]
struct Server {
    calls: AtomicUsize,
    keys: Mutex<Vec<String>>,
    carried: Mutex<Vec<(String, String)>>,
    /// So many calls are answered UNAVAILABLE.
    unavailable: AtomicUsize,
}

#[derive(Clone)]
struct Shared(Arc<Server>);

impl Shared {
    fn took<T>(&self, request: &tonic::Request<T>) -> Result<(), Status> {
        let header = |name: &str| {
            let value = request.metadata().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let carried = (header("authorization"), header("dmarcer-workspace"));
        self.0.carried.lock().unwrap().push(carried);
        self.0.keys.lock().unwrap().push(header("idempotency-key"));
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let fewer = |left: usize| left.checked_sub(1);
        match self.0.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
            Ok(_) => Err(Status::unavailable("not now")),
            Err(_) => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl WorkspaceService for Shared {
    async fn add_workspace(
        &self,
        request: tonic::Request<control::AddWorkspaceRequest>,
    ) -> Result<tonic::Response<control::AddWorkspaceResponse>, Status> {
        self.took(&request)?;
        match request.get_ref().id.as_str() {
            "taken" => Err(Status::already_exists("taken")),
            _ => Ok(tonic::Response::new(control::AddWorkspaceResponse::default())),
        }
    }

    async fn list_workspaces(
        &self,
        request: tonic::Request<control::ListWorkspacesRequest>,
    ) -> Result<tonic::Response<control::ListWorkspacesResponse>, Status> {
        self.took(&request)?;
        Ok(tonic::Response::new(control::ListWorkspacesResponse::default()))
    }

    async fn get_workspace(
        &self,
        _: tonic::Request<control::GetWorkspaceRequest>,
    ) -> Result<tonic::Response<control::GetWorkspaceResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_workspace(
        &self,
        _: tonic::Request<control::UpdateWorkspaceRequest>,
    ) -> Result<tonic::Response<control::UpdateWorkspaceResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn close_workspace(
        &self,
        _: tonic::Request<control::CloseWorkspaceRequest>,
    ) -> Result<tonic::Response<control::CloseWorkspaceResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A server behind a wire that is cut `cuts` times, each time when it has worked and before it is heard.
async fn world(cuts: usize) -> (Arc<Server>, SocketAddr) {
    let server = Arc::new(Server::default());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let behind = incoming.local_addr().unwrap();
    let service = WorkspaceServiceServer::new(Shared(server.clone()));
    let router = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(router.serve_with_incoming(incoming));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let counted = server.clone();
    tokio::spawn(async move {
        let mut cuts = cuts;
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(behind).await.unwrap();
            tokio::spawn(wire(client, server, counted.clone(), cuts > 0));
            cuts = cuts.saturating_sub(1);
        }
    });
    (server, front)
}

async fn wire(client: TcpStream, server: TcpStream, counted: Arc<Server>, cut: bool) {
    let before = counted.calls.load(Ordering::SeqCst);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = from_server.read(&mut some).await {
        // The handler has counted before it says a word.
        if cut && counted.calls.load(Ordering::SeqCst) > before {
            break;
        }
        if to_client.write_all(&some[..read]).await.is_err() {
            break;
        }
    }
    there.abort();
}

fn client(at: SocketAddr, given: Option<&str>) -> WorkspaceServiceClient<Calls> {
    let carried = Carried {
        authorization: Some(HeaderValue::from_static("Bearer t")),
        workspace: Some(HeaderValue::from_static("acme")),
        keys: Keys::new(given.map(str::to_owned)),
    };
    WorkspaceServiceClient::new(Calls::new(&format!("http://{at}"), carried).unwrap())
}

fn add(id: &str) -> control::AddWorkspaceRequest {
    control::AddWorkspaceRequest { id: id.to_owned(), name: "n".repeat(100_000) }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let (server, at) = world(2).await;
    client(at, None).add_workspace(add("a")).await.unwrap();
    let keys = server.keys.lock().unwrap();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
    let carried = server.carried.lock().unwrap();
    assert!(carried.iter().all(|it| it.0 == "Bearer t" && it.1 == "acme"), "{carried:?}");
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let (server, at) = world(usize::MAX).await;
    let given_up = client(at, None).add_workspace(add("a")).await.unwrap_err();
    assert_eq!(server.calls.load(Ordering::SeqCst), 1 + PAUSES.len());
    assert!(given_up.source().is_some(), "{given_up:?}");
}

#[tokio::test]
async fn who_does_not_know_whether_a_change_was_made_is_told_how_to_find_out() {
    let (server, at) = world(usize::MAX).await;
    let add_to = async |at: SocketAddr| {
        let carried = Carried { authorization: None, workspace: None, keys: Keys::new(None) };
        let calls = Calls::new(&format!("http://{at}"), carried).unwrap();
        WorkspaceServiceClient::new(calls.clone()).add_workspace(add("a")).await.unwrap_err();
        calls.lost().map(str::to_owned)
    };
    let key = add_to(at).await;
    assert_eq!(key.as_ref(), server.keys.lock().unwrap().first());
    // Where nobody listens, nothing was changed.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(add_to(nobody).await, None);
}

#[tokio::test]
async fn unavailable_is_tried_again_and_a_refusal_is_not() {
    let (server, at) = world(0).await;
    server.unavailable.store(1, Ordering::SeqCst);
    client(at, None).list_workspaces(control::ListWorkspacesRequest::default()).await.unwrap();
    assert_eq!(*server.keys.lock().unwrap(), ["", ""], "reading takes no key");

    let refused = client(at, None).add_workspace(add("taken")).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);

    server.unavailable.store(usize::MAX, Ordering::SeqCst);
    let given_up = client(at, None).add_workspace(add("a")).await.unwrap_err();
    assert_eq!((given_up.code(), given_up.message()), (Code::Unavailable, "not now"));
}

#[tokio::test]
async fn each_change_has_a_key_of_its_own() {
    let (server, at) = world(0).await;
    let mut given = client(at, Some("mine"));
    for id in ["a", "b"] {
        given.add_workspace(add(id)).await.unwrap();
        given.list_workspaces(control::ListWorkspacesRequest::default()).await.unwrap();
    }
    assert_eq!(*server.keys.lock().unwrap(), ["mine", "", "mine.2", ""]);
    server.keys.lock().unwrap().clear();
    let mut random = client(at, None);
    random.add_workspace(add("a")).await.unwrap();
    random.add_workspace(add("a")).await.unwrap();
    let keys = server.keys.lock().unwrap();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_key_is_what_a_header_carries() {
    for key in ["a", "0b5c6a0e-9f", &"k".repeat(MAX_KEY_BYTES)] {
        assert_eq!(parse_key(key).as_deref(), Ok(key));
    }
    for key in ["", "a b", "a\n", "ä", &"k".repeat(MAX_KEY_BYTES + 1)] {
        assert!(parse_key(key).is_err(), "{key:?}");
    }
}
