//! The key file of a closed mesh.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use zeroize::Zeroizing;

use super::error::ConfigError;

/// The most bytes that are read from a key file. A key is 45 bytes of text; the bound exists in case that the path is
/// that of a large file.
const MAX_KEY_FILE: u64 = 4096;

/// Reads a mesh key: 32 bytes in base64.
pub(crate) fn read_mesh_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE as usize));
    let file = fs::File::open(path).map_err(read)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_KEY_FILE), &mut text).map_err(read)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map(Zeroizing::new);
    let key = bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
    key.map(Zeroizing::new).ok_or_else(|| {
        let text = "not 32 bytes in base64; make a key with `rouse mesh new`";
        ConfigError::At { path: path.to_owned(), line: 1, text: text.to_owned() }
    })
}
