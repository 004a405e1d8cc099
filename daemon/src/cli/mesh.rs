//! `mesh`: the key file of a closed mesh, in the state directory. It needs no daemon, which reads the file when it starts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rouse_core::Mesh;
use rouse_core::ipc::{self, Search};
use serde_json::json;
use zeroize::Zeroizing;

use super::args::MeshCommand;
use super::connect;
use super::failure::CommandFailure;
use super::output::Output;
use crate::config::{MESH_KEY, read_mesh_key};

/// The next step after a change.
const RESTART: &str = "roused applies this at its next start: `rouse stop`, then start it again";

/// The state directory whose key file is meant.
fn state_dir(search: &Search) -> Result<PathBuf, CommandFailure> {
    let named = || std::env::var_os("ROUSE_STATE_DIR").map(PathBuf::from);
    match (&search.state_dir, &search.socket) {
        (Some(folder), _) => Ok(folder.clone()),
        (None, Some(_)) => Err(CommandFailure::wrong(
            "a socket does not lead to the key file",
            "name the state directory of the daemon with --state-dir",
        )),
        (None, None) => named().or_else(ipc::state_dir).ok_or_else(|| {
            CommandFailure::wrong("the state directory is not known", "set HOME, or name it with --state-dir")
        }),
    }
}

pub(super) async fn mesh(search: &Search, out: &Output, command: MeshCommand) -> Result<(), CommandFailure> {
    let path = state_dir(search)?.join(MESH_KEY);
    match command {
        MeshCommand::New { file } => {
            let key = match file {
                Some(file) => read_key(&file)?,
                None => random_key()?,
            };
            write_key(&path, &key).map_err(|error| refused(&path, &error))?;
            out.notice(&format!(
                "copy {} to the other nodes, and `rouse mesh new FILE` there",
                path.display()
            ));
            out.notice(RESTART);
            out.line(
                &format!("closed {} {}", fingerprint(&key), path.display()),
                &json!({ "mesh": Mesh::Closed, "fingerprint": fingerprint(&key), "key_file": path }),
            )
        }
        MeshCommand::Show => show(search, out, &path).await,
        MeshCommand::Leave => {
            fs::remove_file(&path).map_err(|error| refused(&path, &error))?;
            out.notice(RESTART);
            out.line("open", &json!({ "mesh": Mesh::Open, "fingerprint": null, "key_file": null }))
        }
    }
}

async fn show(search: &Search, out: &Output, path: &Path) -> Result<(), CommandFailure> {
    let key = path.exists().then(|| read_key(path)).transpose()?;
    let running = match connect::administer(search).await {
        Ok(client) => Some(client.status().await?.mesh),
        Err(_) => None,
    };
    let fingerprint = key.as_ref().map(|key| fingerprint(key));
    let file = if key.is_some() { Mesh::Closed } else { Mesh::Open };
    let mesh = running.unwrap_or(file);
    match (running, &key) {
        (Some(Mesh::Closed), None) => out.notice("the configuration file of roused names the key"),
        (Some(running), _) if running != file => out.notice(RESTART),
        (None, _) => out.notice("no daemon runs; this is the state from its next start"),
        _ => {}
    }
    let text = match (mesh, &fingerprint) {
        (Mesh::Closed, Some(fingerprint)) => format!("closed {fingerprint} {}", path.display()),
        (Mesh::Closed, None) => "closed".to_owned(),
        (Mesh::Open, _) => "open: every node that reaches this one may become a neighbour".to_owned(),
    };
    let file = key.is_some().then_some(path);
    out.line(&text, &json!({ "mesh": mesh, "fingerprint": fingerprint, "key_file": file }))
}

/// A short text that is equal on all nodes with the same key and does not reveal it.
fn fingerprint(key: &[u8; 32]) -> String {
    let hash = blake3::derive_key("rouse mesh key fingerprint", key);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn random_key() -> Result<Zeroizing<[u8; 32]>, CommandFailure> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|error| {
        CommandFailure::no("failed", format!("the system has no random bytes: {error}"), "")
    })?;
    Ok(key)
}

/// The key in a file, or on standard input for `-`.
fn read_key(file: &Path) -> Result<Zeroizing<[u8; 32]>, CommandFailure> {
    let wrong = |error: crate::config::ConfigError| CommandFailure::wrong(error.to_string(), "");
    if file != Path::new("-") {
        return read_mesh_key(file).map_err(wrong);
    }
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().take(4096).read_to_string(&mut text);
    read.map_err(|error| CommandFailure::file("standard input", &error))?;
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
    let not_a_key =
        || CommandFailure::wrong("standard input is not 32 bytes in base64", "send a key file to it");
    key.map(Zeroizing::new).ok_or_else(not_a_key)
}

/// Writes a key file that only its owner can read, and replaces none.
fn write_key(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key)));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A part of a key would keep the daemon from starting.
        let _ = fs::remove_file(path);
    })?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn refused(path: &Path, error: &io::Error) -> CommandFailure {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => CommandFailure::no(
            "exists",
            format!("the mesh has a key already: {path}"),
            "`rouse mesh leave` removes it",
        ),
        io::ErrorKind::NotFound => CommandFailure::no(
            "not_found",
            format!("there is no key in {path}"),
            "`rouse mesh new` makes one; a key that the configuration file names is removed there",
        ),
        _ => CommandFailure::no(
            "failed",
            format!("{path}: {error}"),
            "run the command as the user that runs roused",
        ),
    }
}
