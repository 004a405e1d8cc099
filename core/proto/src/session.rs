//! End-to-end sessions: encryption between the two ends of a conversation, whatever relays are between them.
//!
//! A session belongs to a pair of addresses. Its handshake is Noise `IK` together with ML-KEM-768, so that an attacker
//! has to break both X25519 and ML-KEM to read what follows. One round trip makes a session; no byte of an application
//! leaves before. A relay sees the destination of a packet, an index that means nothing to it, a counter, and how long
//! the packet is. It neither sees the sender nor can it forge, change or acknowledge anything.
//!
//! Nothing in this module reads a clock, draws randomness or does I/O, so that a test can repeat every run exactly. The
//! contract with the caller of [`Sessions`]:
//!
//! 1. Report each event with the present time: [`Sessions::handle`] for requests of the layer above and for parts of
//!    handshake messages, [`Sessions::open`] for sealed packets, [`Sessions::handle_timeout`] at
//!    [`Sessions::next_deadline`].
//! 2. Call [`Sessions::poll_output`] until it returns `None`. Each [`SessionOutput::Transmit`] is the payload of a packet
//!    to the peer.
//! 3. Read the deadline again after every step 1. A timer that fires early is harmless.
//!
//! # The life of a session
//!
//! [`SessionInput::Connect`] begins a handshake. Its request is repeated with back-off until the layer above closes the
//! conversation, since a peer may be away for long. At the peer, [`SessionOutput::Requested`] lets the layer above
//! decide; after [`SessionInput::Accept`] the response leaves. The initiator has a session when the response arrives, and
//! proves by a packet under the new keys that it is alive and has them; with that packet the responder has a session.
//! Both report [`SessionOutput::Ready`], from when on [`Sessions::seal`] works.
//!
//! When both ends begin at once, the handshake of the lower address goes on: that end passes over the request of the
//! other, and the end with the higher address lets its own attempt wait. An attempt is never given up before there is a
//! session, so that what is queued in the layer above is sent in any case.
//!
//! Keys are replaced after two minutes of use and after 2²⁸ packets by a rekeying inside the session, and every hour by
//! another handshake. All of it goes on beside the traffic. A session without packets is evicted after five minutes. An
//! end that has lost its session cannot inform the other, since a message that ends a session from outside could be
//! forged: a packet of an unknown session is dropped, the layer above at the other end misses its acknowledgement, and
//! [`SessionInput::Renew`] begins a handshake.
mod data;
mod epoch;
mod event;
#[cfg(test)]
pub(crate) mod examples;
mod exchange;
mod inbound;
mod kem;
mod keys;
mod limiter;
mod pair;
mod parts;
mod places;
mod rekey;
mod repetition;
mod sessions;
#[cfg(test)]
mod specification;
#[cfg(test)]
mod tests;
mod timers;

pub use crate::wire::session::{ProvedStanding, SEAL as SEAL_OVERHEAD, Standing};
pub use data::{NoSession, Opened};
pub use event::{EndReason, PathChoice, SessionInput, SessionOutput};
pub use places::PreviousHop;
pub use sessions::Sessions;
