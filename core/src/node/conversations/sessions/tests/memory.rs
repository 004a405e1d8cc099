//! The memory of sessions and of handshakes that others begin.

use super::*;
use crate::session::{Sessions, Standing};

/// Places, and bytes of each, by section 10 of the specification.
const SESSION: usize = 4608;
const UNCONFIRMED: usize = 6144;
const IN_PARTS: usize = 2560;

/// A peer that has made an identity of its own, and its packets to a node. It has no node behind it, since that would
/// allocate in the same process.
struct Stranger {
    sessions: Sessions,
    pair: Ends,
}

impl Stranger {
    fn new(number: u32, to: Address) -> Self {
        let mut seed = [0x5a; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let identity = Identity::from_seed(&seed);
        let mut sessions = Sessions::new(seed);
        sessions.add_local(&identity);
        Stranger { sessions, pair: Ends { local: identity.address(), peer: to } }
    }

    /// The packets of its request.
    fn request(&mut self) -> Vec<Vec<u8>> {
        let standing = Standing { incarnation: 7, ..Standing::default() };
        self.sessions
            .handle(Time::from_millis(1), SessionInput::Connect { pair: self.pair, standing })
            .unwrap();
        self.packets()
    }

    /// Takes the packets to it, and returns its answers.
    fn take(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let hop = PreviousHop { neighbour: self.pair.peer, host: 1, group: 1 };
        for packet in packets.iter().filter(|packet| packet[4..36] == *self.pair.local.as_bytes()) {
            let part = SessionInput::Part { local: self.pair.local, hop, payload: &packet[HEADER..] };
            let _ = self.sessions.handle(Time::from_millis(1), part);
        }
        self.packets()
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(output) = self.sessions.poll_output() {
            if let SessionOutput::Transmit { payload, .. } = output {
                let mut packet = Vec::new();
                crate::wire::packet::write_header(&mut packet, Class::Bulk, 0, HOP_LIMIT, &self.pair.peer);
                packet.extend_from_slice(&payload);
                packets.push(packet);
            }
        }
        packets
    }
}

fn load(node: &BenchNode) -> (usize, usize, usize) {
    node.shared.conversations.sessions.with(|sessions| sessions.load()).0
}

/// The bytes that `act` leaves allocated. The caller runs in a process of its own, since other tests would allocate too.
fn held(act: impl FnOnce()) -> usize {
    let before = crate::allocated();
    act();
    crate::allocated().saturating_sub(before)
}

#[test]
fn a_place_of_a_session_or_of_a_handshake_holds_no_more_than_is_specified() {
    let name = "a_place_of_a_session_or_of_a_handshake_holds_no_more_than_is_specified";
    crate::node::conversations::tests::alone_in(&format!("sessions::tests::memory::{name}"), || {
        let mut bench = Bench::new(1);
        let to = bench.nodes[1].address();
        let mut strangers: Vec<_> = (0..50).map(|number| Stranger::new(number, to)).collect();
        let requests: Vec<_> = strangers.iter_mut().map(Stranger::request).collect();
        // Only the first part of each, because a message that is complete is handled at once.
        let node = &mut bench.nodes[1];
        strangers.iter().for_each(|stranger| node.add_route(stranger.pair.local));
        let parts = held(|| requests.iter().for_each(|request| node.take(&request[0])));
        assert_eq!(load(node).2, 50);
        assert!(parts < 50 * IN_PARTS, "{parts} bytes in parts");
        let unconfirmed =
            held(|| requests.iter().for_each(|request| request[1..].iter().for_each(|part| node.take(part))));
        assert_eq!((load(node).1, load(node).2), (50, 0));
        let unconfirmed = unconfirmed + parts;
        println!("{} bytes for each handshake that is not confirmed", unconfirmed / 50);
        assert!(
            unconfirmed < 50 * (UNCONFIRMED + 1536),
            "{unconfirmed} bytes of handshakes and conversations"
        );
        let answers = node.poll();
        let confirms: Vec<_> = strangers.iter_mut().flat_map(|stranger| stranger.take(&answers)).collect();
        drop(answers);
        let before = crate::allocated();
        confirms.iter().for_each(|packet| node.take(packet));
        drop(node.poll());
        assert_eq!(load(node), (50, 0, 0), "sessions");
        let confirmed = unconfirmed.saturating_add(crate::allocated()).saturating_sub(before);
        println!("{} bytes for each session and its conversation", confirmed / 50);
        assert!(confirmed < 50 * (SESSION + 1536), "{confirmed} bytes of sessions and conversations");
    });
}
