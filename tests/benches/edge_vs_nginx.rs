//! What a fetch costs our edge, beside Debian's nginx.
//!
//! ```sh
//! cargo bench -p dmarcer-tests --bench edge_vs_nginx
//! ```
//!
//! A fetch is what a sender does: a TLS 1.3 handshake, one GET, the end. Both servers have the same
//! 1,000 names, each with a P-256 certificate of its own, and one worker. Rounds alternate, so that a busy
//! machine disturbs both. The measure is the CPU time of the server's processes, user and system, as
//! the kernel counts it, for 1,000 fetches; the clients' is not in it. The edge counts each fetch
//! and writes its counts to disk, nginx writes no log.
//!
//! It fails when the edge needs more than [`TARGET`] of what nginx needs.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints what it found")]

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// CPU of the edge, as a part of nginx's.
const TARGET: f64 = 0.40;

const NAMES: usize = 1_000;
const FETCHES_PER_ROUND: usize = 2_000;
const ROUNDS: usize = 8;
/// Enough that a server always has something to do.
const CLIENTS: usize = 4;

/// Says that this process is to be the edge, and where its files are.
const SERVE_FROM: &str = "EDGE_VS_NGINX_SERVE_FROM";

/// The kernel's clock ticks a second, the unit of `/proc/<pid>/stat` on every Linux we run on.
const TICKS_PER_SECOND: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The allocator that `dmarcer` runs with: a handshake allocates some hundred times, and the
/// system's allocator is a twelfth of what it costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Outcome<()> {
    match env::var_os(SERVE_FROM) {
        Some(folder) => server::serve(Path::new(&folder)),
        None => compare(),
    }
}

fn compare() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    make_certificates(folder)?;
    let edge = start_edge(folder)?;
    let nginx = start_nginx(folder)?;
    let client = client(folder)?;

    let mut spent = [0.0; 2];
    let servers = [("edge", &edge), ("nginx", &nginx)];
    for (_, server) in servers {
        // What is done once for each name is not a fetch.
        fetch_many(server.address, &client, NAMES)?;
    }
    println!("CPU seconds for 1,000 fetches");
    for round in 1..=ROUNDS {
        for (at, (name, server)) in servers.into_iter().enumerate() {
            let (before, started) = (server.cpu_seconds()?, Instant::now());
            fetch_many(server.address, &client, FETCHES_PER_ROUND)?;
            let seconds = server.cpu_seconds()? - before;
            spent[at] += seconds;
            let per_thousand = seconds * 1_000.0 / FETCHES_PER_ROUND as f64;
            let rate = FETCHES_PER_ROUND as f64 / started.elapsed().as_secs_f64();
            println!("round {round}  {name:6} {per_thousand:.3}   ({rate:.0} fetches/s)");
        }
    }
    let per_thousand = spent.map(|seconds| seconds * 1_000.0 / (ROUNDS * FETCHES_PER_ROUND) as f64);
    let ratio = spent[0] / spent[1];
    println!("edge {:.3}, nginx {:.3}, ratio {ratio:.3}", per_thousand[0], per_thousand[1]);
    if ratio > TARGET {
        return Err(format!("the edge needs {ratio:.3} of nginx's CPU, more than {TARGET}").into());
    }
    Ok(())
}

fn domain(nth: usize) -> String {
    format!("d{nth}.example")
}

fn body(nth: usize) -> String {
    let domain = domain(nth);
    format!(
        "version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\nmax_age: 604800\r\n"
    )
}

fn make_certificates(folder: &Path) -> Outcome<()> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key)?;
    fs::write(folder.join("ca.pem"), ca.pem())?;
    let issuer = Issuer::new(params, ca_key);
    for nth in 0..NAMES {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![format!("mta-sts.{}", domain(nth))])?;
        let leaf = leaf.signed_by(&key, &issuer)?;
        fs::write(folder.join(format!("{nth}.crt")), leaf.pem())?;
        fs::write(folder.join(format!("{nth}.key")), key.serialize_pem())?;
    }
    Ok(())
}

/// A server's processes.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn cpu_seconds(&self) -> Outcome<f64> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let children = children.split_whitespace().map(str::to_owned);
        let mut ticks = 0;
        for id in children.chain([id.to_string()]) {
            let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
            // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
            let (_, fields) = stat.rsplit_once(") ").ok_or("no stat")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        // nginx's master ends its worker; a kill would leave it.
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
    }
}

fn start_edge(folder: &Path) -> Outcome<Server> {
    let mut child =
        Command::new(env::current_exe()?).env(SERVE_FROM, folder).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok(Server { child, address: line.trim().parse()? })
}

fn start_nginx(folder: &Path) -> Outcome<Server> {
    // Free now; nobody else on this machine is waiting for it.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let at = folder.display();
    let mut servers = format!(
        "server {{ listen {address} ssl http2 default_server; ssl_reject_handshake on; }}\n"
    );
    for nth in 0..NAMES {
        let (domain, body) = (domain(nth), body(nth).replace("\r\n", "\\r\\n"));
        servers += &format!(
            "server {{ listen {address} ssl http2; server_name mta-sts.{domain};
                ssl_certificate {at}/{nth}.crt; ssl_certificate_key {at}/{nth}.key;
                location = /.well-known/mta-sts.txt {{
                    default_type text/plain; add_header Cache-Control max-age=60;
                    return 200 \"{body}\"; }} }}\n"
        );
    }
    let config = format!(
        "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log crit;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; server_tokens off;
            client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;
            uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
            server_names_hash_max_size 8192; server_names_hash_bucket_size 128;
            ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
            {servers}
        }}"
    );
    fs::write(folder.join("nginx.conf"), config)?;
    let program =
        ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).is_file());
    let program = program.ok_or("no nginx here: apt install nginx-light")?;
    let child = Command::new(program)
        .args(["-p".as_ref(), folder, "-c".as_ref(), folder.join("nginx.conf").as_path()])
        .stderr(Stdio::null())
        .spawn()?;
    let server = Server { child, address };
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            return Err(format!("nginx does not start: {log}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

fn client(folder: &Path) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn fetch_many(address: SocketAddr, client: &Arc<ClientConfig>, fetches: usize) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Outcome<()> {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                nth if nth < fetches => fetch(address, client, nth % NAMES)?,
                _ => return Ok(()),
            }
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
    })
}

fn fetch(address: SocketAddr, client: &Arc<ClientConfig>, nth: usize) -> Outcome<()> {
    let host = format!("mta-sts.{}", domain(nth));
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.clone())?;
    let mut tls = StreamOwned::new(ClientConnection::new(client.clone(), name)?, stream);
    let request = format!(
        "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {host}\r\n\
         User-Agent: postfix-mta-sts-resolver\r\nAccept: */*\r\n\r\n"
    );
    tls.write_all(request.as_bytes())?;
    let body = body(nth);
    let mut answer = vec![];
    while !answer.ends_with(body.as_bytes()) {
        let mut part = [0; 4096];
        match tls.read(&mut part)? {
            0 => return Err("the answer is cut off".into()),
            length => answer.extend(&part[..length]),
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err("the answer is no policy".into());
    }
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}

/// The edge, in a process of its own.
mod server {
    use bus::Bus;
    use bus::embedded::EmbeddedBus;
    use rustls::pki_types::PrivateKeyDer;
    use service::Shutdown;
    use service::clock::SystemClock;
    use service::sealed::Kek;
    use wire::Message;
    use wire::bus::{CertificateDocument, EdgeDocument, PolicyDocument};
    use wire::envelope::{Place, Root, Signer, Trust, new_key};
    use wire::sealing::{self, RegionKey};

    use super::*;

    const REGION: &str = "eu-1";

    pub(crate) fn serve(folder: &Path) -> Outcome<()> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async { tokio::spawn(run(folder.to_owned())).await? })?;
        Ok(())
    }

    async fn run(folder: PathBuf) -> Outcome<()> {
        let root = Root::from_pkcs8(&new_key()?)?;
        let signer = |name: &str, bucket: &str| {
            Signer::delegated_by(&root, name, &new_key().unwrap(), &[bucket]).unwrap()
        };
        let trust = Trust::pin(root.public_key());
        let region_key = RegionKey::generate()?;
        let bus = EmbeddedBus::new(&[("fetches", &[])]);
        let (control, issuer) =
            (signer("control", "policies-*"), signer("issuer", "certificates-*"));
        for nth in 0..NAMES {
            let domain = domain(nth);
            let place = Place { revision: 1, position: nth as u64 + 1 };
            let policy = PolicyDocument {
                domain: domain.clone(),
                revision: 1,
                body: body(nth).into_bytes(),
                claim_id: String::new(),
            };
            let envelope = control.seal("policies-eu-1", &domain, place, &policy);
            bus.put("policies-eu-1", &domain, envelope.into()).await?;

            let chain = CertificateDer::from_pem_file(folder.join(format!("{nth}.crt")))?;
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{nth}.key")))?;
            let sealed = sealing::seal(&region_key.public, REGION, &domain, key.secret_der())?;
            let certificate = CertificateDocument {
                domain: domain.clone(),
                chain: vec![chain.to_vec()],
                key: Some(sealed),
                ..Default::default()
            };
            let envelope = issuer.seal("certificates-eu-1", &domain, place, &certificate);
            bus.put("certificates-eu-1", &domain, envelope.into()).await?;
        }

        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let parts = edge::Parts {
            config: edge::Config {
                id: Some("bench".into()),
                region: REGION.into(),
                https: vec![any],
                http: vec![],
                ..Default::default()
            },
            data_dir: folder.join("edge"),
            bus: bus.clone(),
            trust: trust.clone(),
            signer: signer("edge", "edges"),
            region_key: region_key.private,
            credential: Kek::new(&[7; 32])?,
            clock: Arc::new(SystemClock),
            shutdown: Shutdown::new(),
        };
        let edge = edge::start(parts).await?;
        let address = edge.https_addresses()[0];
        let running = tokio::spawn(edge.run());
        let all = NAMES as u64;
        loop {
            if let Some(entry) = bus.get("edges", "bench").await? {
                let told = trust.open("edges", "bench", &entry.value)?;
                let told = EdgeDocument::decode(told.payload.unwrap_or_default().as_slice())?;
                if told.policies_position == all && told.certificates_position == all {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{address}");
        running.await?;
        Ok(())
    }
}
