//! `doctor`: checks of this host and its daemon, each with the next step. It works without a daemon too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_io::Timer;
use rouse_core::ipc::{self, Search};
use rouse_core::{Client, Level, Mesh, NetmodState, Status};
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;
use serde_json::json;

use super::connect;
use super::failure::CommandFailure;
use super::output::Output;
use super::show::health_line;
use crate::config::{MESH_KEY, default_files, read_mesh_key};
use crate::state::StateDir;
use crate::units::{bytes, counted};

/// The free space in the state directory below which a warning is given, and below which writes are about to fail.
const LITTLE_SPACE: u64 = 64 << 20;
const NO_SPACE: u64 = 1 << 20;

/// The time within which a beacon that was sent has to be heard back.
const BEACON_TIMEOUT: Duration = Duration::from_secs(2);

/// The date of this program's first release, in seconds since 1970: a clock before it is wrong.
const EARLIEST: u64 = 1_735_689_600;

/// The finding of one check.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
    hint: String,
}

impl Finding {
    fn new(check: &'static str, level: Level, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { check, level, text: text.into(), hint: hint.into() }
    }

    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, text, "")
    }
}

pub(super) async fn doctor(search: &Search, out: &Output) -> Result<(), CommandFailure> {
    let mut findings = Vec::new();
    match connect::administer(search).await {
        Ok(client) => findings.extend(daemon(&client).await?),
        Err(failure) => {
            findings.push(Finding::new("daemon", Level::Error, failure.message(), failure.hint()));
        }
    }
    findings.push(clock());
    findings.extend(firewall());
    let named = || std::env::var_os("ROUSE_STATE_DIR").map(PathBuf::from);
    // A socket that is named leads to no state directory.
    let folder = match (&search.state_dir, &search.socket) {
        (Some(folder), _) => Some(folder.clone()),
        (None, Some(_)) => None,
        (None, None) => named().or_else(ipc::state_dir),
    };
    if let Some(folder) = folder.filter(|folder| folder.exists()) {
        findings.extend(disk(&folder));
        findings.extend(state_files(&folder));
        findings.extend(mesh_key(&folder.join(MESH_KEY)));
    }
    let file = default_files().into_iter().find(|path| path.exists());
    if let Some(file) = file {
        findings
            .push(Finding::ok("config", format!("{} is read unless --config names another", file.display())));
    }
    for finding in &findings {
        let text = format!("{}: {}", finding.check, finding.text);
        let text = health_line(out, finding.level, &text, &finding.hint);
        if !out.is_json() {
            out.line(&text, &())?;
        }
    }
    out.json(&json!({ "checks": findings }))?;
    let mut errors = findings.iter().filter(|finding| finding.level == Level::Error);
    match errors.next() {
        Some(_) if !out.is_json() => {
            let failed = counted(1 + errors.count() as u64, "check");
            Err(CommandFailure::no("unhealthy", format!("{failed} found an error"), ""))
        }
        Some(finding) => Err(CommandFailure::no(
            "unhealthy",
            format!("{}: {}", finding.check, finding.text),
            finding.hint.clone(),
        )),
        None => Ok(()),
    }
}

/// The checks that the daemon answers.
async fn daemon(client: &Client) -> Result<Vec<Finding>, CommandFailure> {
    let status = client.status().await?;
    let own = env!("CARGO_PKG_VERSION");
    let version = &status.version;
    let mut findings = vec![match version == own {
        true => Finding::ok("daemon", format!("roused {version} answers")),
        false => Finding::new(
            "daemon",
            Level::Warn,
            format!("roused is version {version}, and this program is version {own}"),
            "restart the older one after an update",
        ),
    }];
    findings.push(match status.mesh {
        Mesh::Closed => Finding::ok("mesh", "closed: only nodes with the same key become neighbours"),
        Mesh::Open => Finding::new(
            "mesh",
            Level::Warn,
            "open: every node that reaches this one may become a neighbour",
            "`rouse mesh new` makes a key that closes it",
        ),
    });
    findings.push(sockets(&status));
    // Sockets, buffers and interfaces are watched by the node itself, which reports them as its health.
    let problems = status.health.iter().filter(|health| health.level != Level::Ok);
    findings.extend(
        problems.map(|health| Finding::new("node", health.level, health.text.clone(), health.hint.clone())),
    );
    findings.push(multicast(client, status).await?);
    Ok(findings)
}

fn sockets(status: &Status) -> Finding {
    let up = status.netmods.iter().filter(|netmod| netmod.state == NetmodState::Up);
    let uris: Vec<&str> = up.map(|netmod| netmod.uri.as_str()).collect();
    match uris.is_empty() {
        true => Finding::new("sockets", Level::Error, "no network module is up", "`rouse status` shows why"),
        false => Finding::ok("sockets", uris.join(", ")),
    }
}

/// Whether the beacons that this node sends come back to it, as they reach the other nodes of the network.
async fn multicast(client: &Client, mut status: Status) -> Result<Finding, CommandFailure> {
    let count = |status: &Status, name: &str| -> u64 {
        status.netmods.iter().filter_map(|netmod| netmod.counters.get(name)).sum()
    };
    if count(&status, "beacons_own") == 0 {
        Timer::after(BEACON_TIMEOUT).await;
        status = client.status().await?;
    }
    let (sent, own) = (count(&status, "beacons_sent"), count(&status, "beacons_own"));
    let heard = counted(count(&status, "beacons_heard"), "beacon");
    Ok(match (sent, own) {
        (0, _) => Finding::new(
            "multicast",
            Level::Warn,
            "no beacon was sent: discovery is off, or there is no interface for it",
            "nodes find each other only if one dials the other: `rouse peer add udp:HOST:PORT`",
        ),
        (_, 0) => Finding::new(
            "multicast",
            Level::Error,
            format!("{} sent, and none was heard back", counted(sent, "beacon")),
            "a firewall of this host drops multicast: allow UDP from the local network",
        ),
        _ => Finding::ok(
            "multicast",
            format!("{own} of this node's {} heard back, {heard} of others", counted(sent, "beacon")),
        ),
    })
}

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    match now < EARLIEST {
        true => Finding::new(
            "clock",
            Level::Error,
            "the clock of this host is years behind",
            "set it, for example with `timedatectl set-ntp true`: messages carry wrong times",
        ),
        false => Finding::ok("clock", format!("{}", rouse_core::Timestamp::now())),
    }
}

/// A hint for a firewall that is known to be active. Its rules are readable by root alone.
fn firewall() -> Option<Finding> {
    let ufw = fs::read_to_string("/etc/ufw/ufw.conf").is_ok_and(|text| text.contains("ENABLED=yes"));
    let (name, allow) = match (ufw, Path::new("/run/firewalld").exists()) {
        (true, _) => ("ufw", "ufw allow 7700:7701/udp"),
        (false, true) => ("firewalld", "firewall-cmd --add-port=7700-7701/udp"),
        (false, false) => return None,
    };
    let hint = format!("if other hosts do not reach this node: `{allow}`");
    Some(Finding::new("firewall", Level::Warn, format!("{name} is active on this host"), hint))
}

fn disk(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shown = folder.display();
    if access(folder, Access::WRITE_OK).is_err() {
        let hint = "run this command as the user that runs roused, or give that user the directory";
        findings.push(Finding::new("disk", Level::Error, format!("{shown} cannot be written"), hint));
    }
    match statvfs(folder) {
        Ok(system) => {
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            let text = format!("{} free in {shown}", bytes(free));
            let level = match free {
                free if free < NO_SPACE => Level::Error,
                free if free < LITTLE_SPACE => Level::Warn,
                _ => Level::Ok,
            };
            let hint =
                if level == Level::Ok { "" } else { "free some space: names and peers could not be saved" };
            findings.push(Finding::new("disk", level, text, hint));
        }
        Err(error) => findings.push(Finding::new("disk", Level::Error, format!("{shown}: {error}"), "")),
    }
    findings
}

fn state_files(folder: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = StateDir::problems(folder)
        .into_iter()
        .map(|problem| {
            let hint = "restore the file from a backup, or remove it";
            Finding::new("state", Level::Error, problem.to_string(), hint)
        })
        .collect();
    if fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o022 != 0) {
        let text = format!("other users may write to {}", folder.display());
        findings.push(Finding::new("state", Level::Warn, text, format!("`chmod 700 {}`", folder.display())));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("state", format!("the files in {} are good", folder.display())));
    }
    findings
}

fn mesh_key(path: &Path) -> Option<Finding> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.mode() & 0o077 != 0 {
        let text = format!("other users may read the mesh key {}", path.display());
        return Some(Finding::new("key", Level::Error, text, format!("`chmod 600 {}`", path.display())));
    }
    Some(match read_mesh_key(path) {
        Ok(_) => Finding::ok("key", format!("{} is a mesh key", path.display())),
        Err(error) => {
            let hint =
                "copy it again from a node of the mesh: `rouse mesh leave`, then `rouse mesh new FILE`";
            Finding::new("key", Level::Error, error.to_string(), hint)
        }
    })
}
