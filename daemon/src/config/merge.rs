//! The merging of flags, file and defaults. Each value is checked where it came from, so that an error names the flag
//! or the line of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rouse_core::Address;
use rouse_core::ipc::MAX_SOCKET_PATH;
use rouse_core::node::NeighbourFilter;
use rouse_netmod_udp::{UdpConfig, check_peer};

use super::error::ConfigError;
use super::file::{ApiTable, ConfigFile, NetmodTable};
use super::flags::Flags;
use super::locations::ValueLocations;
use super::mesh_key::read_mesh_key;
use super::settings::{ApiSocket, Config, NetmodConfig};
use crate::units::Size;
use crate::{log, names};

/// The bytes of all messages in the journal.
const DEFAULT_JOURNAL: u64 = 1 << 30;
/// With less, there would not even be room for a message of each of a few peers.
const SMALLEST_JOURNAL: u64 = 1 << 20;

/// The bytes of all messages in the journal; `None` for no journal.
fn journal(
    flags: &Flags,
    in_file: Option<Size>,
    locations: &ValueLocations,
) -> Result<Option<u64>, ConfigError> {
    let bytes = in_file.map_or(DEFAULT_JOURNAL, |size| size.0);
    match bytes < SMALLEST_JOURNAL {
        true => {
            let text = "the journal needs 1MiB at least; `--volatile-only` keeps none";
            Err(locations.wrong("limits.journal", text))
        }
        false => Ok((!flags.volatile_only).then_some(bytes)),
    }
}

/// Merges the flags and the file over the defaults, and checks every value.
pub(super) fn merge(
    flags: &Flags,
    path: Option<PathBuf>,
    file: ConfigFile,
    locations: &ValueLocations,
    state_dir: PathBuf,
) -> Result<Config, ConfigError> {
    for name in file.names.keys() {
        names::check(name).map_err(|text| locations.wrong(&format!("names.{name}"), &text))?;
    }
    let name = flag_or_file(
        flags.name.clone().map(|name| ("--name", name)),
        file.node.name.map(|name| ("node.name", name)),
        |name| if name.is_empty() { Ok(()) } else { names::check(name) },
        locations,
    )?;
    let level = flag_or_file(
        flags.log.clone().map(|level| ("--log", level)),
        file.log.level.map(|level| ("log.level", level)),
        log::check,
        locations,
    )?;
    let peers = peers(flags, &file.netmod, locations)?;
    let netmods = netmods(flags, file.netmod, locations)?;
    // A relative path in a configuration file is relative to that file, not to the working directory, which differs
    // between a shell and a service.
    let beside = |key: PathBuf| match path.as_deref().and_then(Path::parent) {
        Some(folder) => folder.join(key),
        None => key,
    };
    let mesh_key = file.mesh.key.filter(|path| !path.as_os_str().is_empty()).map(beside);
    if let Some(path) = &mesh_key {
        let wrong = |error| format!("{error}; the value is the path of a key file, relative to this file");
        read_mesh_key(path).map_err(|error| locations.wrong("mesh.key", &wrong(error)))?;
    }
    let addresses = |key: &str, list: &[String]| {
        let address = |(at, text): (usize, &String)| {
            address(text, &file.names).map_err(|error| locations.wrong(&format!("mesh.{key}.{at}"), &error))
        };
        list.iter().enumerate().map(address).collect::<Result<BTreeSet<Address>, ConfigError>>()
    };
    let allow = addresses("allow", &file.mesh.allow)?;
    let deny = addresses("deny", &file.mesh.deny)?;
    Ok(Config {
        neighbour_filter: NeighbourFilter { allow: Some(allow).filter(|allow| !allow.is_empty()), deny },
        file: path,
        state_dir,
        name: name.filter(|name| !name.is_empty()),
        netmods,
        peers,
        mesh_key,
        limits: file.limits.over_defaults(),
        journal: journal(flags, file.limits.journal, locations)?,
        api: api(&file.api).map_err(|text| locations.wrong("api.listen", &text))?,
        http: http(&file.http.listen).map_err(|text| locations.wrong("http.listen", &text))?,
        log_level: level.unwrap_or_else(|| "info".to_owned()),
        log_format: flags.log_format,
        names: file.names,
    })
}

/// The address that a text of the file stands for: the address itself, or that of a name in the table `[names]`.
fn address(text: &str, names: &BTreeMap<String, Address>) -> Result<Address, String> {
    if let Some(address) = names.get(text) {
        return Ok(*address);
    }
    text.parse().map_err(|error| match text.starts_with("rouse1") {
        true => format!("{text}: {error}"),
        false => match names::nearest(text, names.keys().map(String::as_str)) {
            Some(near) => format!("there is no name `{text}` in [names]; did you mean `{near}`?"),
            None => format!("`{text}` is neither an address nor a name in [names]"),
        },
    })
}

/// The error of a flag, or of the environment variable that may have set it.
fn wrong_flag(flag: &str, text: &str) -> ConfigError {
    let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
    let set = std::env::var_os(format!("ROUSE_{variable}")).is_some();
    let or = if set { format!(" (or ROUSE_{variable}, which is set)") } else { String::new() };
    ConfigError::Value(format!("{flag}{or}: {text}"))
}

/// The value of a flag, otherwise that of the file. Both are checked.
fn flag_or_file(
    flag: Option<(&str, String)>,
    in_file: Option<(&str, String)>,
    check: impl Fn(&str) -> Result<(), String>,
    locations: &ValueLocations,
) -> Result<Option<String>, ConfigError> {
    if let Some((path, value)) = &in_file {
        check(value).map_err(|text| locations.wrong(path, &text))?;
    }
    if let Some((flag, value)) = &flag {
        check(value).map_err(|text| wrong_flag(flag, &text))?;
    }
    Ok(flag.or(in_file).map(|(_, value)| value))
}

/// The peers of the file and those of the flags, each once.
fn peers(
    flags: &Flags,
    tables: &[NetmodTable],
    locations: &ValueLocations,
) -> Result<Vec<String>, ConfigError> {
    let mut peers = Vec::new();
    for (table, netmod) in tables.iter().enumerate() {
        for (at, uri) in netmod.peer_uris().enumerate() {
            let path = format!("netmod.{table}.peers.{at}");
            check_peer_uri(&uri).map_err(|text| locations.wrong(&path, &text))?;
            peers.push(uri);
        }
    }
    for uri in &flags.peer {
        check_peer_uri(uri).map_err(|text| wrong_flag("--peer", &text))?;
        peers.push(uri.trim().to_owned());
    }
    let mut seen = BTreeSet::new();
    peers.retain(|uri| seen.insert(uri.clone()));
    Ok(peers)
}

fn netmods(
    flags: &Flags,
    tables: Vec<NetmodTable>,
    locations: &ValueLocations,
) -> Result<Vec<NetmodConfig>, ConfigError> {
    let mut netmods = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let default = NetmodConfig::default();
        let netmod = NetmodConfig {
            listen: table.listen.unwrap_or(default.listen),
            discover: table.discover.unwrap_or(default.discover),
            interfaces: table.interfaces.unwrap_or(default.interfaces),
        };
        check_listen(&netmod.listen)
            .map_err(|text| locations.wrong(&format!("netmod.{at}.listen"), &text))?;
        for (item, pattern) in netmod.interfaces.iter().enumerate() {
            let path = format!("netmod.{at}.interfaces.{item}");
            check_pattern(pattern).map_err(|text| locations.wrong(&path, &text))?;
        }
        netmods.push(netmod);
    }
    if netmods.is_empty() {
        netmods.push(NetmodConfig::default());
    }
    if !flags.listen.is_empty() {
        // A flag replaces the listen address only, and the other settings are those of the first network module of the
        // file.
        let template = netmods.swap_remove(0);
        netmods.clear();
        for uri in &flags.listen {
            let listen =
                strip_scheme(uri, "udp:[::]:7700").and_then(|listen| check_listen(listen).map(|()| listen));
            let listen = listen.map_err(|text| wrong_flag("--listen", &text))?.to_owned();
            netmods.push(NetmodConfig { listen, ..template.clone() });
        }
    }
    for netmod in &mut netmods {
        netmod.discover &= !flags.no_discover;
    }
    Ok(netmods)
}

fn api(table: &ApiTable) -> Result<ApiSocket, String> {
    let listen = match table.listen.as_deref() {
        None | Some("unix") => return Ok(ApiSocket::StateDir),
        Some(listen) => listen,
    };
    match listen.strip_prefix("unix:").map(PathBuf::from) {
        Some(path) if path.as_os_str().len() > MAX_SOCKET_PATH => {
            Err(format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes on this system"))
        }
        Some(path) if path.is_absolute() => Ok(ApiSocket::At(path)),
        _ => Err(format!("`{listen}` is neither \"unix\" nor \"unix:/an/absolute/path\"")),
    }
}

/// The address of the status page. It shows the neighbours and the traffic of the node, so that no other host may ask.
fn http(listen: &str) -> Result<Option<SocketAddr>, String> {
    if listen.is_empty() {
        return Ok(None);
    }
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(_) => Err(format!(
            "`{listen}` is no address of the loopback; for other hosts, put a server with a login before it"
        )),
        Err(_) => {
            Err(format!("`{listen}` is not an address and a port, such as 127.0.0.1:9464 or [::1]:9464"))
        }
    }
}

/// The part of a URI after the scheme, if a network module has that scheme.
fn strip_scheme<'a>(uri: &'a str, example: &str) -> Result<&'a str, String> {
    match uri.trim().split_once(':') {
        Some(("udp", rest)) if !rest.is_empty() => Ok(rest),
        Some((scheme, _)) if matches!(scheme, "tcp" | "serial" | "quic" | "http" | "https" | "unix") => {
            Err(format!("no network module has the scheme `{scheme}:`; write udp:HOST:PORT"))
        }
        _ => Err(format!("`{uri}` is not a URI such as {example}")),
    }
}

fn check_peer_uri(uri: &str) -> Result<(), String> {
    check_peer(strip_scheme(uri, "udp:192.0.2.7:7700")?).map_err(|error| error.to_string())
}

fn check_listen(listen: &str) -> Result<(), String> {
    UdpConfig::listen_on(listen).map(drop).map_err(|error| error.to_string())
}

/// The longest name of a network interface on Linux, in bytes.
const MAX_INTERFACE: usize = 15;

/// Refuses a pattern that cannot match any interface.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    let name = pattern.strip_prefix('!').unwrap_or(pattern);
    let letters = name.chars().filter(|c| *c != '*').count();
    match !name.is_empty() && letters <= MAX_INTERFACE && name.chars().all(legal) {
        true => Ok(()),
        false => Err(format!(
            "`{pattern}` matches no interface; write a name such as eth0, or a pattern such as eth*"
        )),
    }
}
