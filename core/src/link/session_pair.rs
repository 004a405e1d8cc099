//! Both ends of a session without the handshake before it, for the fuzzers: a million sessions a minute.

use super::keys::{Opener, Sealer, Suite};

/// What one end of a session has.
pub(crate) type SessionEnd = (Sealer, Opener);

/// The two ends of a session whose keys everybody knows; `None` where the cipher does not work.
pub(crate) fn session_pair(suite: Suite) -> Option<[SessionEnd; 2]> {
    let hash = [3; 32];
    let splits = [[1; 32], [2; 32]];
    let end = |there: usize, here: usize| {
        let (there, here) = (splits.get(there)?, splits.get(here)?);
        Some((Sealer::new(suite, &hash, there, 7)?, Opener::new(suite, &hash, here)?))
    };
    Some([end(0, 1)?, end(1, 0)?])
}
