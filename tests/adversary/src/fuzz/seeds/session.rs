//! Seeds of the target `session`.

use crate::fuzz::seed::Seed;
use crate::fuzz::session::{
    AFTERWARDS, ARRIVE, CLOSE, CONNECT, DAMAGE, FORGE, LOSE, RENEW, REPLAY, REST, SEAL, WAIT,
};

/// The steps by which the first end makes a session: four parts, three parts, a confirm and its answer.
fn made() -> Vec<u8> {
    let mut steps = vec![CONNECT, 0];
    steps.extend([ARRIVE; 9]);
    steps
}

/// An exchange of contents in both directions.
const EXCHANGE: [u8; 6] = [SEAL, 0, SEAL, 1, ARRIVE, ARRIVE];

pub(crate) fn seeds() -> Vec<Seed> {
    let both = [&[CONNECT, 0, CONNECT, 1][..], &[ARRIVE; 20], &EXCHANGE].concat();
    let lossy = [
        &[CONNECT, 0, ARRIVE, LOSE, ARRIVE, ARRIVE, WAIT, 0x00, 1][..],
        &[ARRIVE, ARRIVE, ARRIVE, ARRIVE, LOSE, ARRIVE, ARRIVE, WAIT, 0x00, 2],
        &[ARRIVE; 16],
        &EXCHANGE,
    ]
    .concat();
    let forged =
        [
            &[
                CONNECT, 0, FORGE, 0, 1, 0, 3, 20, 0, 1, DAMAGE, 3, 40, 0, 8, ARRIVE, ARRIVE, ARRIVE, WAIT,
                0, 1,
            ][..],
            &[ARRIVE; 12],
            &EXCHANGE,
            &[FORGE, 9, 1, 0, 3, 14, 0, 1, REPLAY, 9, REPLAY, 10, FORGE, 10, 0, 0, 0, 5, 0, 0],
        ]
        .concat();
    // Two minutes of use, then the four packets of a rekeying, one of which is lost in some seeds.
    let rekeyed = |lost: usize| {
        let mut steps = [&made()[..], &EXCHANGE, &[REST, 121]].concat();
        for nth in 0..5 {
            steps.push(if nth == lost { LOSE } else { ARRIVE });
        }
        steps.extend([REST, 3, ARRIVE, ARRIVE, ARRIVE, ARRIVE, ARRIVE, ARRIVE]);
        steps.extend(EXCHANGE);
        steps
    };
    let renewed = [&made()[..], &EXCHANGE, &[RENEW, 1], &[ARRIVE; 9], &EXCHANGE].concat();
    let closed =
        [&made()[..], &EXCHANGE, &[CLOSE, 1, SEAL, 0, ARRIVE, RENEW, 0], &[ARRIVE; 9], &EXCHANGE].concat();
    let replayed =
        [&made()[..], &[REPLAY, 0, REPLAY, 1, REPLAY, 2, REPLAY, 3], &[ARRIVE; 3], &EXCHANGE].concat();
    let scripts = [
        ("made", [&made()[..], &EXCHANGE].concat()),
        ("both", both),
        ("lossy", lossy),
        ("forged", forged),
        ("rekeyed", rekeyed(9)),
        ("rekey-lost", rekeyed(0)),
        ("rekeyed-lost", rekeyed(1)),
        ("confirm-lost", rekeyed(2)),
        ("renewed", renewed),
        ("closed", closed),
        ("replayed", replayed),
        ("idle", [&made()[..], &EXCHANGE, &[REST, 255, REST, 255], &made(), &EXCHANGE].concat()),
    ];
    let seed =
        |(name, steps): (&str, Vec<u8>)| Seed::new("session", name, [&[AFTERWARDS][..], &steps].concat());
    scripts.map(seed).into()
}
