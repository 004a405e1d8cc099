//! Names, peers and addresses: permitted changes last, others are refused.

use super::*;
use crate::daemon::{DaemonFailure, serve};
use crate::line_queue::LineQueue;
use crate::log::LogFormat;
use futures::executor::block_on;
use rouse_core::Identity;
use rouse_core::node::NodeFailure;
use std::fs;
use std::future::{pending, ready};

struct Setup {
    folder: tempfile::TempDir,
    flags: Flags,
}

impl Setup {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roused.toml");
        fs::write(&path, toml).unwrap();
        let state_dir = Some(folder.path().join("state"));
        let listen = vec!["udp:127.0.0.1:0".to_owned()];
        let flags = Flags { config: Some(path), state_dir, listen, no_discover: true, ..Flags::default() };
        Setup { folder, flags }
    }

    async fn admin(&self) -> DaemonAdmin {
        let config = Config::load(&self.flags).unwrap();
        let state = StateDir::open(&config.state_dir).unwrap();
        let mut builder = Node::builder().identity(state.identity().unwrap());
        for netmod in config.make_netmods(None).unwrap() {
            builder = builder.netmod(netmod);
        }
        for uri in &config.peers {
            builder = builder.peer(uri);
        }
        let node = builder.start().await.unwrap();
        let (stop, _) = mpsc::unbounded();
        DaemonAdmin::start(node, state, Settings { flags: self.flags.clone(), config }, log(), stop)
            .await
            .unwrap()
    }

    async fn again(&self, admin: DaemonAdmin) -> DaemonAdmin {
        admin.inner.node.stop().await;
        drop(admin);
        self.admin().await
    }
}

/// The log that all tests of the process share.
fn log() -> DaemonLog {
    static LOG: std::sync::OnceLock<DaemonLog> = std::sync::OnceLock::new();
    let start = || {
        let lines = LineQueue::to(std::io::stderr(), drop).unwrap();
        crate::log::start("off", LogFormat::Text, &lines).unwrap()
    };
    LOG.get_or_init(start).clone()
}

fn denial<T: std::fmt::Debug>(result: Result<T, AdminError>) -> Denial {
    result.unwrap_err().denial
}

fn address(seed: u8) -> Address {
    Identity::from_seed(&[seed; 32]).address()
}

#[test]
fn names_last_and_those_of_the_configuration_cannot_be_changed() {
    block_on(async {
        let setup = Setup::new(&format!("[names]\nbob = \"{}\"\n", address(1)));
        let admin = setup.admin().await;
        admin.add_name("alice".into(), address(2)).await.unwrap();
        admin.add_name("alice".into(), address(2)).await.unwrap();
        assert_eq!(denial(admin.add_name("alice".into(), address(3)).await), Denial::Exists);
        assert_eq!(denial(admin.add_name("rouse1x".into(), address(3)).await), Denial::Invalid);
        let error = admin.add_name("bob".into(), address(3)).await.unwrap_err();
        assert_eq!(error.denial, Denial::ReadOnly);
        assert!(error.message.contains("roused.toml"), "{error}");
        assert_eq!(denial(admin.remove_name("bob").await), Denial::ReadOnly);
        assert_eq!(denial(admin.remove_name("carol").await), Denial::NotFound);

        let admin = setup.again(admin).await;
        let names = admin.names();
        let all: Vec<_> = names.iter().map(|info| (info.name.as_str(), info.source)).collect();
        assert_eq!(all, [("alice", Source::State), ("bob", Source::Config)]);
        assert_eq!(admin.name_of(&address(2)).as_deref(), Some("alice"));
        admin.remove_name("alice").await.unwrap();
        assert_eq!(admin.name_of(&address(2)), None);
    });
}

#[test]
fn peers_last_and_those_of_the_configuration_cannot_be_changed() {
    block_on(async {
        let setup = Setup::new("[[netmod]]\nkind = \"udp\"\npeers = [\"127.0.0.1:9\"]\n");
        let admin = setup.admin().await;
        admin.add_peer("udp:127.0.0.1:10").await.unwrap();
        assert_eq!(denial(admin.add_peer("udp:127.0.0.1:10").await), Denial::Exists);
        assert_eq!(denial(admin.add_peer("carrier-pigeon:coop").await), Denial::Invalid);
        assert_eq!(denial(admin.add_peer("udp:127.0.0.1:9").await), Denial::ReadOnly);
        assert_eq!(denial(admin.remove_peer("udp:127.0.0.1:9").await), Denial::ReadOnly);
        assert_eq!(denial(admin.remove_peer("udp:127.0.0.1:11").await), Denial::NotFound);

        let admin = setup.again(admin).await;
        let all: Vec<_> = admin.peers().await.into_iter().map(|info| (info.uri, info.source)).collect();
        let expected = [("udp:127.0.0.1:9", Source::Config), ("udp:127.0.0.1:10", Source::State)];
        assert_eq!(all, expected.map(|(uri, source)| (uri.to_owned(), source)));
        admin.remove_peer("udp:127.0.0.1:10").await.unwrap();
        assert_eq!(admin.peers().await.len(), 1);
    });
}

#[test]
fn an_address_belongs_to_the_user_that_made_it_and_lasts_until_it_is_removed() {
    block_on(async {
        let setup = Setup::new("");
        let admin = setup.admin().await;
        let made = admin.new_identity(Some("app".into()), 4711).await.unwrap();
        assert_eq!(denial(admin.new_identity(Some("app".into()), 4711).await), Denial::Exists);
        let first = admin.inner.node.address();
        assert_eq!(denial(admin.remove_identity(&first).await), Denial::Invalid);

        let admin = setup.again(admin).await;
        assert_eq!(admin.identities()[1], made);
        assert_eq!(admin.owner(&made.address), Some(4711));
        assert_eq!(admin.default_address(4711), Some(made.address));
        assert_eq!(admin.default_address(4712), None);
        assert_eq!(admin.default_address(admin.inner.uid), Some(first));
        assert!(admin.inner.node.addresses().contains(&made.address));
        admin.remove_identity(&made.address).await.unwrap();
        assert_eq!(admin.owner(&made.address), None);
        assert!(!admin.inner.node.addresses().contains(&made.address));
        let secrets = setup.folder.path().join("state/identities");
        assert_eq!(fs::read_dir(secrets).unwrap().count(), 0, "the secret is gone");
    });
}

#[test]
fn reload_applies_names_and_peers_and_reports_settings_that_need_a_restart() {
    block_on(async {
        let setup = Setup::new("[[netmod]]\nkind = \"udp\"\npeers = [\"127.0.0.1:9\"]\n");
        let admin = setup.admin().await;
        let file = setup.flags.config.clone().unwrap();
        let text = format!(
            "[node]\nname = \"new\"\n[[netmod]]\nkind = \"udp\"\npeers = [\"127.0.0.1:8\"]\n[names]\nbob = \"{}\"\n",
            address(1)
        );
        fs::write(&file, text).unwrap();
        let notes = admin.reload().await.unwrap();
        assert!(notes.contains("next start"), "{notes}");
        assert_eq!(admin.name_of(&address(1)).as_deref(), Some("bob"));
        let dialled: Vec<_> =
            admin.inner.node.dialled().await.into_iter().map(|dialled| dialled.uri).collect();
        assert_eq!(dialled, ["udp:127.0.0.1:8"]);

        fs::write(&file, "[nod]\n").unwrap();
        let error = admin.reload().await.unwrap_err();
        assert!(error.message.contains("[nod]"), "{error}");
        assert_eq!(admin.name_of(&address(1)).as_deref(), Some("bob"), "a bad file changes nothing");
    });
}

#[test]
fn a_daemon_whose_node_fails_ends_with_the_reason_and_code_1() {
    block_on(async {
        let setup = Setup::new("");
        let config = Config::load(&setup.flags).unwrap();
        let state = StateDir::open(&config.state_dir).unwrap();
        let node = Node::builder().start().await.unwrap();
        let (stop, stopped) = mpsc::unbounded();
        let flags = setup.flags.clone();
        let admin = DaemonAdmin::start(node, state, Settings { flags, config }, log(), stop).await.unwrap();
        let signals = async_signal::Signals::new([async_signal::Signal::Hup]).unwrap();
        let failure = NodeFailure { task: "router", message: "a fault of the test".to_owned() };
        let serving = serve(pending(), ready(failure), &admin, signals, stopped);
        let failure = serving.await.unwrap_err();
        let failure = DaemonFailure::from(failure);
        assert_eq!(failure.code(), 1);
        let line = failure.line();
        assert!(
            line.starts_with("roused: the node has ended") && line.contains("a fault of the test"),
            "{line}"
        );
    });
}
