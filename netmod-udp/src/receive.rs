//! Reception in batches, into buffers that are reused.
//!
//! `recvmmsg` gets a batch of buffers, each as long as the longest train that the kernel may merge (GRO). A long train
//! is passed on in the buffer that it was received in, which is reclaimed when all its frames were dropped. A short
//! train is copied to a buffer that it shares with others, because that is cheaper than clearing a new buffer, and so
//! that a frame that waits in a queue does not hold 64 KiB.

use std::array;
use std::io::{self, IoSliceMut};
use std::mem;

use bytes::BytesMut;
use quinn_udp::{BATCH_SIZE, RecvMeta};
use rouse_core::netmod::{Arrival, Endpoint};

use crate::counters::Counters;
use crate::socket::Socket;
use crate::source_address;

/// The length of each buffer. No datagram is longer, nor any train that the kernel merges, so nothing is truncated.
const SLOT: usize = 1 << 16;

/// The longest train that is copied, in bytes.
const MAX_COPIED: usize = 1 << 14;

/// The length of a buffer that copied trains share.
const SHARED: usize = 1 << 15;

/// The number of frames that a batch should not exceed by much.
const FRAMES: usize = 256;

/// The receive buffers of a netmod.
pub(crate) struct Pool {
    slots: Vec<BytesMut>,
    metas: [RecvMeta; BATCH_SIZE],
    shared: BytesMut,
    /// The number of buffers to offer to the kernel: fewer while trains are long, so that a batch has about [`FRAMES`]
    /// frames.
    offer: usize,
}

impl Pool {
    pub(crate) fn new() -> Self {
        // One large allocation, so that the system commits pages only when they are written to.
        let mut all = BytesMut::zeroed(SLOT * BATCH_SIZE);
        Pool {
            slots: (0..BATCH_SIZE).map(|_| all.split_to(SLOT)).collect(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            shared: BytesMut::new(),
            offer: BATCH_SIZE,
        }
    }

    /// Appends the frames that `socket` has to `arrivals`. It does not wait: the error is [`io::ErrorKind::WouldBlock`]
    /// when there are none.
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
            let sent_to = meta.dst_ip.filter(|_| !socket.is_fixed());
            let endpoint = source_address::attach(Endpoint::from(meta.addr), sent_to);
            arrivals.push(Arrival { endpoint, bytes, size });
        }
        self.offer = (FRAMES / longest).clamp(1, BATCH_SIZE);
        Ok(())
    }

    /// The first `length` bytes of a slot, moved or copied out of it.
    fn take(&mut self, index: usize, length: usize) -> BytesMut {
        let slot = &mut self.slots[index];
        if length > MAX_COPIED {
            // The rest keeps a handle on the buffer, so that `reserve` reclaims all of it when the frames were dropped.
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
