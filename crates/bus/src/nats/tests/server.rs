//! A nats-server of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use super::eventually;

/// Where `tests/install` puts it; else it is looked for in `PATH`.
const INSTALLED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-tools/venv/bin/nats-server");

pub(super) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    /// Found at the first start, and kept: clients know it.
    port: u16,
    more: String,
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    /// Starts one with JetStream, and `more` in its configuration, where `@FOLDER` is its folder.
    pub(super) async fn start(more: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let more = more.replace("@FOLDER", &folder.path().display().to_string());
        let child = spawn(folder.path(), "-1", &more);
        let ports = folder.path().join(format!("nats-server_{}.ports", child.id()));
        let mut server = Server { child, folder, port: 0, more };
        server.port = eventually("the server to listen", async || {
            let ports = fs::read(&ports).map_err(|_| server.log())?;
            let ports: Ports = serde_json::from_slice(&ports).map_err(|fault| fault.to_string())?;
            let port = ports.nats.first().and_then(|url| url.rsplit(':').next()?.parse().ok());
            port.ok_or_else(|| "no port".to_owned())
        })
        .await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps a stream.
    pub(super) fn stream_folder(&self, stream: &str) -> PathBuf {
        self.folder.path().join("jetstream/jetstream/$G/streams").join(stream)
    }

    /// As `kill -9`.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), &self.port.to_string(), &self.more);
    }

    /// Stops the process where it stands: connections stay, and nobody answers.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by its test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: &str, more: &str) -> Child {
    let at = folder.display();
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{at}\"\nmax_payload: 2MB\n{}\n{more}\n",
        if more.contains("jetstream {") {
            String::new()
        } else {
            format!("jetstream {{ store_dir: \"{at}/jetstream\" }}")
        }
    );
    fs::write(folder.join("nats.conf"), config).unwrap();
    let program = if Path::new(INSTALLED).is_file() { INSTALLED } else { "nats-server" };
    Command::new(program)
        .arg("-c")
        .arg(folder.join("nats.conf"))
        .arg("-l")
        .arg(folder.join("log"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is installed: run tests/install")
}
