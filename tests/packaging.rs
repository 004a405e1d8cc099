//! The files for packagers: they are valid, and agree with the programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use rouse_tests::{Output, programs};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

#[test]
fn the_configuration_of_the_service_is_good() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut roused = Command::new(programs!().folder().join("roused"));
    roused
        .arg("--check")
        .arg("--config")
        .arg(packaging("roused.toml"))
        .env_clear()
        .env("HOME", folder.path());
    Output::of(&mut roused).exits(0);
}

#[test]
fn the_service_names_the_user_and_the_directories_that_the_other_files_name() {
    let read = |name| std::fs::read_to_string(packaging(name)).unwrap();
    let (unit, users, config) = (read("roused.service"), read("sysusers.conf"), read("roused.toml"));
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    assert_eq!(value("Type"), "notify");
    assert!(users.lines().any(|line| line.starts_with(&format!("u {} ", value("User")))));
    assert!(users.contains(&format!("/var/lib/{}", value("StateDirectory"))));
    assert!(config.contains(&format!("unix:/run/{}/rouse.sock", value("RuntimeDirectory"))));
    // In a user namespace the daemon would take all users of its socket for the same one.
    assert_eq!(value("PrivateUsers"), "no");
}

#[test]
fn the_service_is_hardened() {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=yes", "--threshold=25"]).arg(packaging("roused.service"));
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: the exposure of the service is not measured");
        return;
    }
    let output = Output::of(&mut analyze);
    assert_eq!(output.code, Some(0), "more than 2.5: {}", output.text().lines().last().unwrap_or_default());
}
