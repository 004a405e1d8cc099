//! The path of the socket, by the same rules for the daemon, which creates it, and for the programs that look for it.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest path of a socket, in bytes: `sun_path` of `unix(7)` without its final zero.
pub const MAX_SOCKET_PATH: usize = 107;

/// The socket of a daemon that serves the whole system.
pub const SYSTEM_SOCKET: &str = "/run/rouse/rouse.sock";

const SOCKET_NAME: &str = "rouse.sock";

/// Reads one variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn process_environment(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The state directory when none is named: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/rouse`, else
/// `~/.local/state/rouse`; `None` when there is no home either.
pub fn state_dir() -> Option<PathBuf> {
    state_dir_in(&process_environment)
}

fn state_dir_in(environment: Environment<'_>) -> Option<PathBuf> {
    let absolute = |name| environment(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    // systemd passes a list when a unit has several state directories; the first one is the unit's own.
    let from_systemd = environment("STATE_DIRECTORY").and_then(|list| env::split_paths(&list).next());
    from_systemd
        .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("rouse")))
        .or_else(|| absolute("HOME").map(|path| path.join(".local/state/rouse")))
}

/// The socket of a state directory: `rouse.sock` in it, or, where that path is longer than the system allows, a name
/// made of its hash under `$XDG_RUNTIME_DIR` or the temporary folder.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    let mut paths = socket_paths(state_dir, &process_environment);
    paths.swap_remove(0)
}

/// The possible paths of the socket of a state directory, the most likely first. There are several, since the
/// environment of the daemon may differ from that of this process.
fn socket_paths(state_dir: &Path, environment: Environment<'_>) -> Vec<PathBuf> {
    let absolute = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let plain = absolute.join(SOCKET_NAME);
    if plain.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
        return vec![plain];
    }
    let real = state_dir.canonicalize().unwrap_or(absolute);
    let hash = blake3::hash(real.as_os_str().as_bytes()).to_hex();
    let name = format!("rouse-{}.sock", hash.get(..16).unwrap_or_default());
    let runtime = environment("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let temporary = environment("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    [runtime, Some(temporary), Some("/tmp".into())]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(&name))
        .filter(|path| path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH)
        .collect()
}

/// A possible path of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketCandidate {
    pub(super) path: PathBuf,
    /// The only user, beside root, whose socket is trusted: in a folder like `/tmp` every user may create one.
    pub(super) trusted_uid: Option<u32>,
}

/// A search for the socket of the daemon.
///
/// The first of these that is set decides alone: a socket, `ROUSE_SOCKET`, a state directory, `ROUSE_STATE_DIR`. When
/// none is set, the default state directory is searched, then [`SYSTEM_SOCKET`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The path of the socket.
    pub socket: Option<PathBuf>,
    /// The state directory of the daemon.
    pub state_dir: Option<PathBuf>,
    /// The longest time to wait for a daemon that is just starting; 2 s when there is none here.
    pub patience: Option<Duration>,
}

impl Search {
    pub(super) fn candidates(&self) -> Vec<SocketCandidate> {
        self.candidates_in(&process_environment)
    }

    fn candidates_in(&self, environment: Environment<'_>) -> Vec<SocketCandidate> {
        let named = self.socket.clone().or_else(|| environment("ROUSE_SOCKET").map(PathBuf::from));
        if let Some(path) = named {
            return vec![SocketCandidate { path, trusted_uid: None }];
        }
        // The daemon takes its state directory from the same variable.
        let state_dir = self.state_dir.clone().or_else(|| environment("ROUSE_STATE_DIR").map(PathBuf::from));
        if let Some(state_dir) = state_dir {
            return candidates_of(&state_dir, environment);
        }
        let mut candidates =
            state_dir_in(environment).map(|path| candidates_of(&path, environment)).unwrap_or_default();
        candidates.push(SocketCandidate { path: SYSTEM_SOCKET.into(), trusted_uid: None });
        candidates
    }
}

fn candidates_of(state_dir: &Path, environment: Environment<'_>) -> Vec<SocketCandidate> {
    let candidate = |path: PathBuf| {
        let is_outside = path.file_name() != Some(SOCKET_NAME.as_ref());
        let owner = std::fs::metadata(state_dir).ok().map(|metadata| metadata.uid());
        SocketCandidate { path, trusted_uid: owner.filter(|_| is_outside) }
    };
    socket_paths(state_dir, environment).into_iter().map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
    }

    #[test]
    fn the_state_directory_is_systemds_else_xdgs_else_the_homes() {
        let all = [("STATE_DIRECTORY", "/var/lib/rouse:/x"), ("XDG_STATE_HOME", "/s"), ("HOME", "/home/a")];
        let expected = ["/var/lib/rouse", "/s/rouse", "/home/a/.local/state/rouse"];
        for (at, expected) in expected.iter().enumerate() {
            assert_eq!(state_dir_in(&environment(&all[at..])), Some(PathBuf::from(expected)));
        }
        assert_eq!(state_dir_in(&environment(&[("XDG_STATE_HOME", "relative"), ("HOME", "")])), None);
    }

    #[test]
    fn a_path_too_long_for_a_socket_becomes_a_hashed_name() {
        let fits = PathBuf::from(format!("/{}", "a".repeat(MAX_SOCKET_PATH - 1 - "/rouse.sock".len())));
        assert_eq!(socket_paths(&fits, &environment(&[])), [fits.join("rouse.sock")]);

        let long = PathBuf::from(format!("/{}", "a".repeat(MAX_SOCKET_PATH - "/rouse.sock".len())));
        let inside = socket_paths(&long, &environment(&[("XDG_RUNTIME_DIR", "/run/user/7")]));
        assert!(inside[0].starts_with("/run/user/7"));
        let outside = socket_paths(&long, &environment(&[]));
        assert!(
            inside.contains(&outside[0]),
            "a client finds the socket of a daemon with another environment"
        );
        let other = PathBuf::from(format!("/{}", "b".repeat(120)));
        assert_ne!(socket_paths(&other, &environment(&[])), outside);
    }

    #[test]
    fn a_named_socket_or_state_directory_is_the_only_one_searched() {
        let home = [("HOME", "/home/a"), ("ROUSE_SOCKET", "/s")];
        let paths = |search: Search, environment: Environment<'_>| -> Vec<PathBuf> {
            search.candidates_in(environment).into_iter().map(|candidate| candidate.path).collect()
        };
        let both =
            Search { socket: Some("/mine".into()), state_dir: Some("/dir".into()), ..Search::default() };
        assert_eq!(paths(both, &environment(&home)), [PathBuf::from("/mine")]);
        let dir = Search { state_dir: Some("/dir".into()), ..Search::default() };
        assert_eq!(paths(dir.clone(), &environment(&home)), [PathBuf::from("/s")]);
        assert_eq!(paths(dir, &environment(&home[..1])), [PathBuf::from("/dir/rouse.sock")]);
        let named = [("ROUSE_STATE_DIR", "/other"), ("HOME", "/home/a")];
        assert_eq!(paths(Search::default(), &environment(&named)), [PathBuf::from("/other/rouse.sock")]);
        let default = paths(Search::default(), &environment(&home[..1]));
        assert_eq!(default, ["/home/a/.local/state/rouse/rouse.sock", SYSTEM_SOCKET].map(PathBuf::from));
    }
}
