//! The memory of frames that are not complete.

use std::io::{ErrorKind, Write};

use futures::executor::block_on;

use super::setup::{RawClient, Setup};
use crate::ipc::frame_memory::MAX_FRAMES;
use crate::ipc::protocol::MAX_FRAME;

const CONNECTIONS: usize = 32;
/// The part of its frame that each client sends.
const PART: usize = 16 << 20;
/// The memory of a connection beside it, and what its socket and its tasks take.
const EACH: usize = 128 << 10;

/// A client that sends a part of the longest frame, as fast as the daemon reads it.
struct HalfFrame {
    client: RawClient,
    sent: usize,
}

impl HalfFrame {
    fn new(setup: &Setup) -> Self {
        let mut client = RawClient::connect(setup);
        client.0.write_all(&(MAX_FRAME as u32).to_le_bytes()).unwrap();
        client.0.set_nonblocking(true).unwrap();
        HalfFrame { client, sent: 0 }
    }

    /// Sends what the socket takes now.
    fn push(&mut self, bytes: &[u8]) {
        while self.sent < PART {
            match self.client.0.write(bytes.get(..PART - self.sent).unwrap_or(bytes)) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn parts_of_frames_hold_no_more_than_one_pool_however_many_connections_send_them() {
    let name = "parts_of_frames_hold_no_more_than_one_pool_however_many_connections_send_them";
    crate::run_alone(&format!("ipc::tests::frames::{name}"), || {
        let setup = block_on(Setup::new());
        let bytes = vec![7; 64 << 10];
        let before = crate::allocated();
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| HalfFrame::new(&setup)).collect();
        let bound = MAX_FRAMES + CONNECTIONS * EACH;
        // Three of the longest frames have room at once. Each that ends leaves its memory to another.
        for done in 3..=CONNECTIONS {
            while clients.iter().filter(|client| client.sent == PART).count() < done.min(3) {
                clients.iter_mut().for_each(|client| client.push(&bytes));
                let held = crate::allocated().saturating_sub(before);
                assert!(held < bound, "{held} bytes are held by {} connections", clients.len());
                std::thread::yield_now();
            }
            if done < CONNECTIONS {
                let first = clients.iter().position(|client| client.sent == PART).unwrap();
                clients.remove(first);
            }
        }
        drop(clients);
        while crate::allocated().saturating_sub(before) > EACH {
            std::thread::yield_now();
        }
    });
}
