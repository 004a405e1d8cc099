//! The lock of a state directory, and what is in it.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_directory_is_used_by_one_daemon_and_the_second_is_refused_with_its_pid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let first = StateDir::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    match StateDir::open(&path).unwrap_err() {
        StateError::InUse { pid, .. } => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
    first.release();
    assert!(StateDir::open(&path).is_ok());
}

#[test]
fn a_directory_that_was_created_again_is_locked_again_unless_another_daemon_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let first = StateDir::open(&path).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(
        matches!(first.ensure_locked(), Err(StateError::Io { .. })),
        "the directory is not created again"
    );
    fs::create_dir(&path).unwrap();
    first.ensure_locked().unwrap();
    assert!(matches!(StateDir::open(&path), Err(StateError::InUse { .. })));

    fs::remove_dir_all(&path).unwrap();
    let second = StateDir::open(&path).unwrap();
    assert!(matches!(first.ensure_locked(), Err(StateError::InUse { .. })));
    assert!(matches!(first.write_peers(&["udp:a:1".to_owned()]), Err(StateError::InUse { .. })));
    assert!(second.peers().unwrap().is_empty());
}

#[test]
fn the_temporary_files_of_a_killed_daemon_are_removed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("identities");
    fs::create_dir(&secrets).unwrap();
    for folder in [folder.path(), &secrets] {
        fs::write(folder.join(".unfinished-a1b2c3"), "a secret").unwrap();
    }
    fs::write(folder.path().join("peers.toml"), "peers = []\n").unwrap();
    drop(StateDir::open(folder.path()).unwrap());
    assert!(!folder.path().join(".unfinished-a1b2c3").exists() && folder.path().join("peers.toml").exists());
    assert_eq!(fs::read_dir(secrets).unwrap().count(), 0);
}

#[test]
fn stored_values_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    assert!(state.names().unwrap().is_empty() && state.peers().unwrap().is_empty());
    let identity = Identity::generate();
    let names = BTreeMap::from([("küche \"x\"".to_owned(), identity.address())]);
    state.write_names(&names).unwrap();
    assert_eq!(state.names().unwrap(), names);
    state.write_peers(&["udp:a:1".to_owned()]).unwrap();
    assert_eq!(state.peers().unwrap(), ["udp:a:1"]);
    let entry = IdentityEntry { address: identity.address(), label: None, owner_uid: 7 };
    state.save_secret(&identity).unwrap();
    assert!(state.identities().unwrap().is_empty(), "a secret without its entry does not count");
    state.write_entries(std::slice::from_ref(&entry)).unwrap();
    assert_eq!(state.identities().unwrap()[0].0, entry);
    state.remove_secret(&entry.address).unwrap();
    assert!(state.identities().unwrap().is_empty(), "an entry without its secret does not count");
    assert_eq!(state.identity().unwrap().address(), state.identity().unwrap().address());
}

#[test]
fn a_damaged_file_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    let path = folder.path().join("names.toml");
    fs::write(&path, "[names]\nbob = 3\n").unwrap();
    assert!(state.names().unwrap_err().to_string().contains("names.toml"));
    fs::create_dir(folder.path().join("peers.toml")).unwrap();
    assert!(matches!(state.peers(), Err(StateError::Damaged { .. })), "its error names the remedy");
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(state.names(), Err(StateError::Damaged { .. })));
    assert!(path.exists());
}
