//! The peering task, with a session whose other end is gone.

use futures::executor::block_on;

use super::*;
use crate::identity::Identity;
use crate::link::Source;
use crate::netmod::Endpoint;
use crate::netmod::mem::MemNet;
use crate::node::state::write;
use crate::node::{Limits, NodeConfig};
use crate::time::Time;

/// A session that `ours` has begun.
fn session(ours: &mut Handshakes, path: Path) -> Session {
    let mut theirs = Handshakes::new(&Identity::from_seed(&[2; 32]), LinkConfig::default(), [2; 32]);
    ours.dial(Time::ZERO, path, 1200);
    loop {
        let mut progress = false;
        while let Some(output) = ours.poll_output() {
            progress = true;
            match output {
                HandshakeOutput::Transmit { frame, .. } => {
                    theirs.handle(Time::ZERO, path, Source::default(), 1200, &frame).unwrap();
                }
                HandshakeOutput::Established(session) => return *session,
                HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
            }
        }
        while let Some(output) = theirs.poll_output() {
            progress = true;
            if let HandshakeOutput::Transmit { frame, .. } = output {
                ours.handle(Time::ZERO, path, Source::default(), 1200, &frame).unwrap();
            }
        }
        assert!(progress, "the handshake has stopped");
    }
}

#[test]
fn a_link_whose_peer_is_removed_before_the_link_is_in_the_tables_is_not_configured() {
    let config = NodeConfig { name: None, limits: Limits::default(), epoch_file: None, mesh_key: None };
    let identity = Identity::from_seed(&[1; 32]);
    let shared = Arc::new(NodeState::new(identity.clone(), config));
    let medium = Arc::new(Medium::new(0, Arc::new(MemNet::new(1).netmod("a"))));
    write(&shared.media).insert(0, medium.clone());
    let mut task = PeeringTask {
        handshakes: Handshakes::new(&identity, LinkConfig::default(), [1; 32]),
        seeds: ChaCha20Rng::from_seed([3; 32]),
        unsent: HashMap::new(),
        shared: shared.clone(),
        next_id: AtomicU32::new(1),
        early: EarlyFrames::default(),
        left: Vec::new(),
    };
    let path = Path { netmod: 0, endpoint: Endpoint::new(b"b").unwrap() };
    let session = session(&mut task.handshakes, path);
    lock(&shared.dials).add(shared.now(), "mem:b");
    lock(&shared.dials).resolved(shared.now(), "mem:b", Ok(vec![path]), &live_links(&shared));
    let configured = lock(&shared.dials).is_configured(&path, &session.peer);
    assert!(configured);
    lock(&shared.dials).remove("mem:b");
    // The link stays, because the node was discovered as well.
    lock(&shared.dials).heard(shared.now(), 0, Heard { endpoint: path.endpoint, instance: 1 });
    block_on(task.serve(session, medium, configured));
    let neighbour = read(&shared.neighbours).values().next().cloned().expect("it is in the tables");
    assert!(!neighbour.is_configured());
}
