//! The beacon: the datagram that a node multicasts so that others can find it, and all that a stranger learns from it.
//!
//! | Bytes | Content |
//! |---|---|
//! | 0..4 | `rous` |
//! | 4 | the version, 1 |
//! | 5..13 | the instance, little endian: a random number drawn at the node's start |
//! | 13..45 | the mesh tag: keyed BLAKE3 of bytes 0..13, or zeros in an open mesh |
//!
//! Further bytes are for later versions and ignored. A beacon is not authenticated, since anyone can record and replay
//! it; it only causes a handshake, which is. The tag avoids handshakes that cannot succeed between meshes that share a
//! network.

const MAGIC: [u8; 4] = *b"rous";
const VERSION: u8 = 1;
const TAG: usize = 13;

/// The length of a beacon, in bytes.
pub(crate) const LENGTH: usize = 45;

/// The reasons for which a datagram is not accepted as a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeaconError {
    /// The datagram is too short or has another magic or version.
    Malformed,
    /// The tag is that of another mesh.
    Foreign,
}

/// Encodes the beacon of `instance` in the mesh with `key`.
pub(crate) fn encode(instance: u64, key: Option<&[u8; 32]>) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[5..TAG].copy_from_slice(&instance.to_le_bytes());
    let tag = tag(&bytes[..TAG], key);
    bytes[TAG..].copy_from_slice(tag.as_bytes());
    bytes
}

/// Decodes a beacon of the mesh with `key` and returns the instance of its sender.
pub(crate) fn decode(bytes: &[u8], key: Option<&[u8; 32]>) -> Result<u64, BeaconError> {
    let beacon = bytes.first_chunk::<LENGTH>().ok_or(BeaconError::Malformed)?;
    let (head, claimed) = beacon.split_at(TAG);
    let instance = head.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(&[VERSION]));
    let instance = instance.and_then(|instance| instance.try_into().ok()).ok_or(BeaconError::Malformed)?;
    // The comparison of hashes takes the same time wherever they differ.
    if tag(head, key) == *claimed { Ok(u64::from_le_bytes(instance)) } else { Err(BeaconError::Foreign) }
}

fn tag(head: &[u8], key: Option<&[u8; 32]>) -> blake3::Hash {
    key.map_or(blake3::Hash::from_bytes([0; 32]), |key| blake3::keyed_hash(key, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: u64 = 0x0123_4567_89ab_cdef;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_a_beacon_stay_the_same() {
        let head = "726f757301efcdab8967452301";
        assert_eq!(hex(&encode(INSTANCE, None)), head.to_owned() + &"00".repeat(32));
        assert_eq!(
            hex(&encode(INSTANCE, Some(&[7; 32]))),
            head.to_owned() + "36fa002f6d527a3c83aad2f6c8b7442a9e424f30a2fe5f8b734087ffa2545fc0"
        );
    }

    #[test]
    fn a_beacon_is_accepted_by_its_own_mesh_alone() {
        let keys = [None, Some([1; 32]), Some([2; 32])];
        for from in &keys {
            for to in &keys {
                let heard = decode(&encode(INSTANCE, from.as_ref()), to.as_ref());
                assert_eq!(heard, if from == to { Ok(INSTANCE) } else { Err(BeaconError::Foreign) });
            }
        }
    }

    #[test]
    fn a_datagram_that_is_no_beacon_is_refused() {
        let beacon = encode(INSTANCE, None);
        for length in 0..LENGTH {
            assert_eq!(decode(&beacon[..length], None), Err(BeaconError::Malformed));
        }
        for at in 0..5 {
            let mut other = beacon;
            other[at] ^= 1;
            assert_eq!(decode(&other, None), Err(BeaconError::Malformed));
        }
        assert_eq!(decode(&[0xff; 2000], None), Err(BeaconError::Malformed));
    }

    #[test]
    fn a_tag_is_of_one_instance() {
        let key = [1; 32];
        let mut beacon = encode(INSTANCE, Some(&key));
        beacon[5] ^= 1;
        assert_eq!(decode(&beacon, Some(&key)), Err(BeaconError::Foreign));
    }

    #[test]
    fn bytes_that_a_later_version_appends_are_ignored() {
        let mut beacon = encode(INSTANCE, None).to_vec();
        beacon.extend_from_slice(b"more");
        assert_eq!(decode(&beacon, None), Ok(INSTANCE));
    }
}
