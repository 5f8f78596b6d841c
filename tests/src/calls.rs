//! Calls of a running product over gRPC, as anybody: with or without a token, in bytes where every RPC
//! is to be called, and of things that no client of ours would send.

use std::net::IpAddr;

use bytes::{Buf as _, BufMut as _};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataKey};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use wire::access::Role;
use wire::control::token_service_client::TokenServiceClient;
use wire::control::workspace_service_client::WorkspaceServiceClient;
use wire::{control, status};

use crate::{Failure, Outcome, Product, World};

/// Runs `body` against an installation without DNS and CA, for a journey whose calls need neither.
///
/// # Errors
///
/// When it does not start, and what the body says.
pub fn alone(world: &World, body: impl AsyncFnOnce(&Product, Channel) -> Outcome) -> Outcome {
    let product = Product::start_alone(world)?;
    over_grpc(&product, body)
}

/// Runs `body` with a connection to an installation.
///
/// # Errors
///
/// When it can't be reached, and what the body says.
pub fn over_grpc(
    product: &Product,
    body: impl AsyncFnOnce(&Product, Channel) -> Outcome,
) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { body(product, connect(Product::SERVER).await?).await })
}

/// A connection of its own.
///
/// # Errors
///
/// When nothing listens there.
pub async fn connect(server: &str) -> Outcome<Channel> {
    Ok(Endpoint::from_shared(server.to_owned())?.connect().await?)
}

/// A connection from another address of this machine: who presents wrong tokens is held up by address.
///
/// # Errors
///
/// When nothing listens there.
pub async fn connect_from(from: IpAddr) -> Outcome<Channel> {
    Ok(Channel::from_static(Product::SERVER).local_address(Some(from)).connect().await?)
}

/// A request with a token; `None` sends none.
pub fn by<T>(token: Option<&str>, message: T) -> Request<T> {
    match token {
        Some(token) => with(Request::new(message), "authorization", &format!("Bearer {token}")),
        None => Request::new(message),
    }
}

/// A request of the installation's admin.
pub fn by_admin<T>(message: T) -> Request<T> {
    by(Some(Product::TOKEN), message)
}

/// The same request with one header more. What no header can hold stays out.
pub fn with<T>(mut request: Request<T>, name: &str, value: &str) -> Request<T> {
    if let (Ok(name), Ok(value)) = (name.parse::<MetadataKey<Ascii>>(), value.parse()) {
        request.metadata_mut().insert(name, value);
    }
    request
}

/// Calls an RPC by its path, with an encoded message, for an encoded answer.
///
/// # Errors
///
/// What the server said, or that it is not there.
pub async fn raw(
    channel: &Channel,
    path: &str,
    request: Request<Vec<u8>>,
) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::try_from(path).map_err(|e| Status::internal(e.to_string()))?;
    Ok(grpc.unary(request, path, Bytes).await?.into_inner())
}

/// `OK`, or the stable reason of a refusal.
pub fn reason<T>(answer: &Result<T, Status>) -> String {
    match answer {
        Ok(_) => "OK".to_owned(),
        Err(refused) => status::told(refused).reason,
    }
}

/// Adds a workspace.
///
/// # Errors
///
/// When the server refuses.
pub async fn add_workspace(channel: &Channel, id: &str) -> Outcome {
    let add = control::AddWorkspaceRequest { id: id.to_owned(), name: String::new() };
    let mut workspaces = WorkspaceServiceClient::new(channel.clone());
    workspaces.add_workspace(by_admin(add)).await.map_err(refused)?;
    Ok(())
}

/// A token that the admin makes in a workspace: the whole of it.
///
/// # Errors
///
/// When the server refuses.
pub async fn make_token(
    channel: &Channel,
    workspace: &str,
    role: Role,
    domains: &[&str],
) -> Outcome<String> {
    let create = control::CreateTokenRequest {
        name: "for a test".to_owned(),
        role: role.into(),
        domains: domains.iter().map(|&name| name.to_owned()).collect(),
        expires_after_seconds: 0,
    };
    let create = with(by_admin(create), "dmarcer-workspace", workspace);
    let mut tokens = TokenServiceClient::new(channel.clone());
    Ok(tokens.create_token(create).await.map_err(refused)?.into_inner().secret)
}

/// A refusal in one line: the form of a status is a page.
pub fn refused(status: Status) -> Failure {
    let told = status::told(&status);
    Failure::new(format!("{}: {}", told.reason, told.message))
}

/// Messages as they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}
