//! Receiving in batches, into buffers that are used again.
//!
//! A batch of buffers, each as long as the longest train that the kernel may merge (GRO), goes to `recvmmsg`. A long
//! train leaves in the very buffer that it came in; the buffer is taken back when all its frames are gone. A short one
//! is copied to a buffer that it shares with others: for it that is cheaper than clearing a new buffer, and a frame
//! that waits in a queue then does not hold on to 64 KiB.

use std::array;
use std::io::{self, IoSliceMut};
use std::mem;

use bytes::BytesMut;
use quinn_udp::{BATCH_SIZE, RecvMeta};
use rouse_core::netmod::{Arrival, Endpoint};

use crate::counters::Counters;
use crate::socket::Socket;
use crate::source_address;

/// The length of each buffer. No datagram is longer, nor any train that the kernel merges, so nothing is cut off.
const SLOT: usize = 1 << 16;

/// Trains up to this length are copied.
const COPIED: usize = 1 << 14;

/// The buffer that copied ones share.
const SHARED: usize = 1 << 15;

/// How many frames one batch should not bring much more than.
const FRAMES: usize = 256;

/// The buffers of a netmod.
pub(crate) struct Pool {
    slots: Vec<BytesMut>,
    metas: [RecvMeta; BATCH_SIZE],
    shared: BytesMut,
    /// How many buffers to offer: fewer while trains are long, to keep a batch in bounds.
    offer: usize,
}

impl Pool {
    pub(crate) fn new() -> Self {
        // One allocation, so that the system gives pages only as they are written to.
        let mut all = BytesMut::zeroed(SLOT * BATCH_SIZE);
        Pool {
            slots: (0..BATCH_SIZE).map(|_| all.split_to(SLOT)).collect(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            shared: BytesMut::new(),
            offer: BATCH_SIZE,
        }
    }

    /// Appends what `socket` has to `arrivals`. Nothing is waited for: without anything it is
    /// [`io::ErrorKind::WouldBlock`].
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        arrivals: &mut Vec<Arrival>,
        counters: &Counters,
    ) -> io::Result<()> {
        for slot in &mut self.slots[..self.offer] {
            if slot.len() < SLOT {
                slot.clear();
                slot.reserve(SLOT);
                slot.resize(SLOT, 0);
            }
        }
        let mut slots = self.slots.iter_mut();
        let mut targets: [IoSliceMut<'_>; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(slots.next().map_or(&mut [], |slot| slot)));
        let targets = &mut targets[..self.offer];
        let count = socket.recv(targets, &mut self.metas)?;

        let mut longest = 1;
        for index in 0..count {
            let meta = self.metas[index];
            // An empty datagram is no frame.
            if meta.len == 0 || meta.len > SLOT || meta.stride == 0 {
                Counters::add(&counters.malformed);
                continue;
            }
            let size = meta.stride.min(meta.len);
            longest = longest.max(meta.len.div_ceil(size));
            let bytes = self.take(index, meta.len);
            let written_to = meta.dst_ip.filter(|_| !socket.is_fixed());
            let endpoint = source_address::attach(Endpoint::from(meta.addr), written_to);
            arrivals.push(Arrival { endpoint, bytes, size });
        }
        self.offer = (FRAMES / longest).clamp(1, BATCH_SIZE);
        Ok(())
    }

    /// The first `length` bytes of a slot.
    fn take(&mut self, index: usize, length: usize) -> BytesMut {
        let slot = &mut self.slots[index];
        if length > COPIED {
            // What stays behind keeps a handle on the buffer, by which it is reclaimed.
            let rest = slot.split_off(length);
            return mem::replace(slot, rest);
        }
        if self.shared.capacity() < length {
            self.shared.reserve(SHARED);
        }
        self.shared.extend_from_slice(&slot[..length]);
        self.shared.split()
    }
}
