//! The rekeying of the examples' session by the links at its ends.

use super::handshake::{INITIATOR, RESPONDER, Whole, whole};
use crate::link::{FrameContent, Link, LinkOutput, Sealer};
use crate::time::Time;

/// All randomness of the link at one end.
pub(super) fn seed(end: u8) -> [u8; 32] {
    [0x20 + end; 32]
}

/// The first rekeying of the session, and the first frame under the new keys.
pub(super) struct Renewed {
    pub(super) rekey: Vec<u8>,
    pub(super) rekeyed: Vec<u8>,
    pub(super) frame: Vec<u8>,
    responder: Link,
}

/// The plaintext of this kind that the link sends. New keys are passed to its sealer.
fn sent(link: &mut Link, sealer: &mut Sealer, now: Time, kind: u8) -> Option<Vec<u8>> {
    let mut found = None;
    while let Some(output) = link.poll_output(now) {
        match output {
            LinkOutput::Transmit(content) if content[0] == kind => found = Some(content),
            LinkOutput::Rekeyed(key) => sealer.renew(*key),
            _ => {}
        }
    }
    found
}

fn sealed(sealer: &mut Sealer, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(|out| out.extend_from_slice(content), &mut out).unwrap();
    out
}

/// The links at both ends of the session, with their sealers.
fn links(now: Time) -> (Link, Link, [Sealer; 2]) {
    let Whole { initiator, responder, .. } = whole();
    let sealers = [initiator.sealer, responder.sealer];
    let link =
        |end, peer, opener, renewal| Link::new(now, peer, opener, 1200, seed(end)).with_renewal(now, renewal);
    let first = link(INITIATOR, initiator.peer, initiator.opener, initiator.renewal);
    let second = link(RESPONDER, responder.peer, responder.opener, responder.renewal);
    (first, second, sealers)
}

pub(super) fn renewed() -> Renewed {
    let now = Time::from_millis(1);
    let (mut first, mut second, mut sealers) = links(now);
    let mut probe = sealed(&mut sealers[0], &super::link::probe());
    second.handle_frame(now, &mut probe).expect("the first frame of the session");
    first.on_key_worn(now);
    first.handle_timeout(now);
    let rekey = sent(&mut first, &mut sealers[0], now, 7).expect("worn keys are replaced");
    second.handle_frame(now, &mut sealed(&mut sealers[0], &rekey)).expect("it verifies");
    let rekeyed = sent(&mut second, &mut sealers[1], now, 8).expect("it is answered");
    first.handle_frame(now, &mut sealed(&mut sealers[1], &rekeyed)).expect("it verifies");
    sent(&mut first, &mut sealers[0], now, 3).expect("the first frame under the new keys is a hello");
    let frame = sealed(&mut sealers[0], &super::link::packet());
    Renewed { rekey, rekeyed, frame, responder: second }
}

/// The responder opens the frame, and finds `packet`.
pub(super) fn opened(frame: &[u8], packet: &[u8]) {
    let mut frame = frame.to_vec();
    let inner = renewed().responder.handle_frame(Time::from_millis(2), &mut frame);
    let Ok(FrameContent::Packet(found)) = inner else { panic!("{inner:?} is no packet") };
    assert_eq!(*found, packet[1..]);
}

/// The kinds of content that a link takes, at one end or the other, of one length or another.
pub(super) fn kinds_that_links_know() -> Vec<u8> {
    let now = Time::from_millis(1);
    let is_known = |kind: &u8| {
        let (mut first, mut second, mut sealers) = links(now);
        let [of_first, of_second] = &mut sealers;
        [(&mut second, of_first), (&mut first, of_second)].into_iter().any(|(link, sealer)| {
            (0..60).any(|length| {
                let mut content = vec![0; 1 + length];
                content[0] = *kind;
                link.handle_frame(now, &mut sealed(sealer, &content)).is_ok()
            })
        })
    };
    (0..=u8::MAX).filter(is_known).collect()
}
