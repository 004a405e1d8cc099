//! One network namespace: made, given interfaces, removed when it is dropped. Its name contains the process id, so that two
//! runs do not collide, and no foreign namespace is ever touched.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names of the namespaces that this process has made.
static MADE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether namespaces can be made: as root, where the kernel and its guard allow it, with `ip` of iproute2.
pub fn may_make_namespaces() -> bool {
    let name = unique("try");
    let made = quietly(&["netns", "add", &name]);
    if made {
        quietly(&["netns", "del", &name]);
    }
    made
}

/// Whether firewalls can be made in namespaces: where the kernel allows it, with `nft` of nftables.
pub fn may_use_nft() -> bool {
    let namespace = Namespace::new("try");
    quietly(&["netns", "exec", namespace.name(), "nft", "add", "table", "inet", "try"])
}

/// Ends what runs in the namespaces of this process, and removes them: for a process that is about to end without
/// dropping what it holds.
pub fn remove_namespaces() {
    for name in std::mem::take(&mut *made()) {
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        for pid in pids.iter().flat_map(|output| output.stdout.split(|byte| *byte == b'\n')) {
            let pid = String::from_utf8_lossy(pid);
            if pid.parse::<u32>().is_ok() {
                // It may have ended by itself: then there is nothing to do.
                let _ = Command::new("kill").args(["-9", &pid]).output();
            }
        }
        quietly(&["netns", "del", &name]);
    }
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with nothing in it but a loopback interface that is down.
    ///
    /// # Panics
    /// When the system does not let it be made; see [`may_make_namespaces`].
    pub fn new(what: &str) -> Self {
        let name = unique(what);
        made().insert(name.clone());
        ip(&["netns", "add", &name]);
        Namespace { name }
    }

    /// Its name, for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all);
    }

    /// Runs `nft` in it.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn nft(&self, arguments: &[&str]) {
        let mut all = vec!["netns", "exec", &self.name, "nft"];
        all.extend(arguments);
        ip(&all);
    }

    /// Sets what is at `/proc/sys/KEY`.
    pub fn set(&self, key: &str, value: &str) {
        let script = format!("echo {value} > /proc/sys/{key}");
        ip(&["netns", "exec", &self.name, "sh", "-c", &script]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The interfaces in it go with it.
        quietly(&["netns", "del", &self.name]);
        made().remove(&self.name);
    }
}

fn made() -> MutexGuard<'static, BTreeSet<String>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rouse-{}-{what}{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip of iproute2 is there");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn quietly(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}
