//! The session of the examples in the specification, from fixed seeds.

use zeroize::Zeroizing;

use super::Standing;
use super::epoch::Epoch;
use super::exchange::{InitiationSeeds, OpenRequest, SessionInitiation, Terms};
use super::rekey::RekeyContext;
use crate::identity::Identity;
use crate::link::{StaticKeys, Suite};
use crate::time::Time;
use crate::wire::session::{
    CONTENT_CONFIRM, CONTENT_REKEY, CONTENT_REKEYED, MESSAGE_REQUEST, parts, rekey_content,
};

/// The seeds of the ephemeral keys of the initiator and of the responder.
pub(crate) const EPHEMERAL_SEEDS: [[u8; 32]; 2] = [[0x31; 32], [0x32; 32]];
/// The same for the rekeying.
pub(crate) const REKEY_SEEDS: [[u8; 32]; 2] = [[0x33; 32], [0x34; 32]];
/// The seed of the key pair for the encapsulation.
pub(crate) const KEM_SEED: [u8; 64] = [0x35; 64];
/// The randomness of the encapsulation.
pub(crate) const KEM_RANDOMNESS: [u8; 32] = [0x36; 32];

/// All bytes of the session.
pub(crate) struct SessionExample {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// The last part of the request.
    pub(crate) part: Vec<u8>,
    /// The first packet of the initiator.
    pub(crate) packet: Vec<u8>,
    /// The next packet of the initiator, which carries a content of the layer above.
    pub(crate) message: Vec<u8>,
    pub(crate) rekey: Vec<u8>,
    pub(crate) rekeyed: Vec<u8>,
}

fn sealed(epoch: &mut Epoch, content: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(content);
        true
    };
    assert_eq!(epoch.keys.sealer.seal(write, &mut packet), Ok(true));
    packet
}

/// Plays the session of these two identities. The initiator seals `content` in it.
pub(crate) fn session_example(initiator: &Identity, responder: &Identity, content: &[u8]) -> SessionExample {
    let now = Time::from_millis(1);
    let keys = [initiator, responder].map(|identity| StaticKeys::new(identity, None));
    let addresses = [initiator.address(), responder.address()];
    let terms = |index, incarnation, peer_incarnation, floor, taken| Terms {
        index,
        suites: Suite::CHACHA,
        standing: Standing { incarnation, floor, peer_incarnation, taken },
    };
    let (known, other) = (0x0101_0101_0101_0101, 0x0202_0202_0202_0202);
    let seeds = InitiationSeeds {
        noise: Zeroizing::new(EPHEMERAL_SEEDS[0]),
        kem: Zeroizing::new(KEM_SEED),
        id: 0x1413_1211,
    };
    let [first, second] = &addresses;
    let ours = terms(0x2423_2221, known, 0, 40, 0);
    let mut initiation = SessionInitiation::start(&keys[0], [first, second], &ours, &seeds).unwrap();
    let request = initiation.message.clone();
    let part = parts(MESSAGE_REQUEST, initiation.id, &request).pop().unwrap();
    let open = OpenRequest::read(&keys[1], second, &request, &Zeroizing::new(EPHEMERAL_SEEDS[1])).unwrap();
    let theirs = terms(0x3433_3231, other, known, 0, 40);
    let (response, agreed) = open.answer(&theirs, &Zeroizing::new(KEM_RANDOMNESS)).unwrap();
    let mut of_responder = Epoch::new(now, theirs.index, false, agreed);
    let mut of_initiator = Epoch::new(now, ours.index, true, initiation.finish(&response).unwrap());
    let packet = sealed(&mut of_initiator, &[CONTENT_CONFIRM]);
    assert_eq!(of_responder.keys.opener.open(&mut packet.clone()).unwrap(), [CONTENT_CONFIRM]);
    let message = sealed(&mut of_initiator, content);
    let step = |end: usize, index| RekeyContext {
        now,
        keys: &keys[end],
        peer: &addresses[1 - end],
        seed: Zeroizing::new(REKEY_SEEDS[end]),
        index,
    };
    of_initiator.start_rekey(&step(0, 0x4443_4241)).unwrap();
    let super::epoch::RekeyStage::Requested(requested) = &of_initiator.rekey else { unreachable!() };
    let rekey = requested.rekey;
    let rekeyed = of_responder.on_rekey(rekey, true, &step(1, 0x5453_5251)).unwrap().unwrap();
    assert!(of_initiator.on_rekeyed(now, rekeyed).unwrap().is_some());
    SessionExample {
        request,
        response,
        part,
        packet,
        message,
        rekey: rekey_content(CONTENT_REKEY, &rekey),
        rekeyed: rekey_content(CONTENT_REKEYED, &rekeyed),
    }
}
