//! The first minute of the README, typed as it stands there.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use rouse_tests::{Running, programs};
use tempfile::TempDir;

/// The lines of the README that start with `roused`, and those after them in the same block.
fn first_minute() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("there is a README");
    let section = readme.split("## The first minute").nth(1).expect("it has a first minute");
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.into_iter().find(|block| block.starts_with("roused ")).expect("it starts daemons").to_owned()
}

/// A port that is free now. Another program could take it before the daemon does, which is unlikely, since the system gives out
/// another port each time.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    socket.local_addr().expect("it is bound").port()
}

#[test]
fn the_first_minute_of_the_readme_delivers_the_message() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (free_port(), free_port());
    let script = first_minute();
    for word in ["/tmp/a", "/tmp/b", "127.0.0.1:7001", "127.0.0.1:7002"] {
        assert!(script.contains(word), "the README has changed: no {word} in\n{script}");
    }
    let script = script
        .replace("/tmp/a", &place("a"))
        .replace("/tmp/b", &place("b"))
        .replace(":7001", &format!(":{first}"))
        .replace(":7002", &format!(":{second}"));
    // A shell that ends leaves what it started behind, so this one stays until its input ends. `recv --follow`, the last that it
    // starts in the background, would wait for the daemon to come back.
    let script = format!(
        "{script}\nread -r _\nkill $!\nrouse --state-dir {} stop\nrouse --state-dir {} stop\nwait\n",
        place("a"),
        place("b")
    );

    let path = format!("{}:{}", programs!().folder().display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("PATH", path).env("HOME", folder.path());
    let mut shell = Running::start(&mut shell);

    let line = shell.line_where(|line| line.ends_with("\thello mesh"));
    assert!(line.starts_with("rouse1"), "sender, tab and text: {line}");
    drop(shell.take_input());
    assert!(shell.end().success(), "both daemons stop");
}
