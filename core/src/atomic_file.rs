//! Files that are written whole or not at all, also when the machine loses power in between.
//!
//! The bytes are written to a temporary file beside the destination (mode 0600) and synced before the file gets its
//! name: otherwise the name could reach the disk before the bytes do, and an empty file would stand where the old one
//! was. Then the directory is synced, because the name itself is data of the directory: without this a file that was
//! reported as written could be missing after a power failure.
//!
//! A process that is killed leaves its temporary file behind, which may hold a secret; `remove_unfinished` removes such files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The begin of the names of temporary files.
const UNFINISHED: &str = ".unfinished-";

/// Writes `bytes` to `path`, in place of a file that may be there.
///
/// # Errors
///
/// When the temporary file cannot be written, synced or renamed. The file at `path` is then the old one, unless only the
/// directory could not be synced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, File::sync_all, |file| file.persist(path).map_err(|error| error.error))
}

/// Writes `bytes` to `path`, where there must be no file yet.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] when there is one, which then stays as it is; otherwise as [`replace`].
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, File::sync_all, |file| file.persist_noclobber(path).map_err(|error| error.error))
}

/// Removes the temporary files that processes have left in `folder` because they were killed. Nothing may write files there at
/// the same time.
///
/// # Errors
///
/// When the folder cannot be read or a file cannot be removed. A folder that does not exist has no such files.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The steps in their order; `sync` is a parameter so that tests can observe it and make it fail.
fn write(
    path: &Path,
    bytes: &[u8],
    sync: impl Fn(&File) -> io::Result<()>,
    persist: impl FnOnce(NamedTempFile) -> io::Result<File>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    file.write_all(bytes)?;
    sync(file.as_file())?;
    persist(file)?;
    sync(&File::open(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_created_only_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, b"a long first content").unwrap();
        assert_eq!(create(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a long first content");
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["file"], "a temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_readable_by_its_owner_alone_even_where_it_replaces_one_that_was_not() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_bytes_are_synced_before_the_file_has_its_name_and_the_directory_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let synced = RefCell::new(Vec::new());
        let sync = |file: &File| {
            let metadata = file.metadata()?;
            let length = metadata.is_file().then_some(metadata.len());
            synced.borrow_mut().push((length, fs::read_to_string(&path)?));
            Ok(())
        };
        write(&path, b"new bytes", sync, |file| file.persist(&path).map_err(|error| error.error)).unwrap();
        let (bytes, directory) = ((Some(9), "old".to_owned()), (None, "new bytes".to_owned()));
        assert_eq!(synced.into_inner(), [bytes, directory]);
    }

    #[test]
    fn bytes_that_cannot_be_synced_leave_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let full = |_: &File| Err(io::ErrorKind::StorageFull.into());
        let result = write(&path, b"new", full, |file| file.persist(&path).map_err(|error| error.error));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // A process that is killed runs none of the steps that follow the sync.
        let killed = |file: NamedTempFile| file.keep().map(|(file, _)| file).map_err(|error| error.error);
        for _ in 0..3 {
            write(&path, b"a secret", |_| Ok(()), killed).unwrap();
        }
        replace(&path, b"whole").unwrap();
        assert_eq!(names(folder.path()).len(), 4);
        remove_unfinished(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
        remove_unfinished(&folder.path().join("none")).unwrap();
    }
}
