//! The file of the journal: a redb database on a [`Disk`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use rouse_proto::types::Timestamp;

use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::tables::Tables;
use crate::totals::{TOTALS, Totals};

/// The file in use.
pub(crate) const JOURNAL: &str = "journal";
/// A file that is not complete yet. It may be left by a crash, and is overwritten.
pub(crate) const INCOMPLETE: &str = "journal.new";

/// The mark of a journal of which a sync has failed. The system then shows pages that are not on the disk and that it
/// never writes again, so that a commit on top of them would not survive a power cut, although its own sync succeeds.
pub(crate) const SUSPECT: &str = "journal.suspect";

/// The pages that are kept in memory. The default of 1 GiB would hold all messages twice.
const CACHE: usize = 1 << 20;

/// The open file, with its length as it was last set.
pub(crate) struct Store {
    database: Option<Database>,
    length: Arc<AtomicU64>,
    sync_failed: Arc<AtomicBool>,
    is_frozen: Arc<AtomicBool>,
}

impl Store {
    /// Opens the journal, or creates it. Nothing is scanned: the time does not depend on the number of messages.
    pub(crate) fn open(disk: &dyn Disk, wall: Timestamp) -> Result<Self, StoreError> {
        if let Some(file) = disk.open(JOURNAL)? {
            return Self::on(file);
        }
        Self::create(disk, &Totals::new(wall))?.close()?;
        Self::publish(disk)?;
        match disk.open(JOURNAL)? {
            Some(file) => Self::on(file),
            None => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }

    /// Creates an empty journal under a temporary name: a power cut while a database is created can leave a file that
    /// cannot be opened.
    pub(crate) fn create(disk: &dyn Disk, totals: &Totals) -> Result<Self, StoreError> {
        let store = Self::on(disk.create(INCOMPLETE)?)?;
        let transaction = store.begin()?;
        Tables::open(&transaction)?.meta.insert(TOTALS, totals.seal().as_slice())?;
        transaction.commit()?;
        Ok(store)
    }

    /// Gives a journal that is complete and closed its name.
    pub(crate) fn publish(disk: &dyn Disk) -> Result<(), StoreError> {
        disk.rename(INCOMPLETE, JOURNAL)?;
        Ok(disk.sync_names()?)
    }

    pub(crate) fn on(file: Box<dyn DiskFile>) -> Result<Self, StoreError> {
        let length = Arc::new(AtomicU64::new(file.len()?));
        let sync_failed = Arc::new(AtomicBool::new(false));
        let is_frozen = Arc::new(AtomicBool::new(false));
        let backend = Backend {
            file,
            length: length.clone(),
            sync_failed: sync_failed.clone(),
            is_frozen: is_frozen.clone(),
        };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database = guarded(|| Ok(builder.create_with_backend(backend)?))?;
        Ok(Store { database: Some(database), length, sync_failed, is_frozen })
    }

    pub(crate) fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let Some(database) = &self.database else { return Err(closed()) };
        let mut transaction = database.begin_write()?;
        // Without it, a crash would be followed by a walk through the whole file.
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, StoreError> {
        let Some(database) = &self.database else { return Err(closed()) };
        guarded(|| Ok(database.begin_read()?))
    }

    /// The length of the file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Relaxed)
    }

    /// Moves the contents to the beginning of the file and cuts off the rest.
    pub(crate) fn compact(&mut self) -> Result<(), StoreError> {
        let Some(database) = &mut self.database else { return Err(closed()) };
        database.compact()?;
        Ok(())
    }

    /// Refuses all further writes to the file. A damaged database that is closed writes once more, and nothing of it could be
    /// read after that.
    pub(crate) fn freeze(&self) {
        self.is_frozen.store(true, Relaxed);
    }

    /// Closes the file. Whether a sync of it has ever failed is noted, so that it is copied before it is used again.
    pub(crate) fn close_on(mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        let result = self.end();
        if self.sync_failed.load(Relaxed) {
            // The note need not survive a power cut, after which the file is read from the disk itself.
            disk.create(SUSPECT)?;
        }
        result
    }

    /// Closes a file that no other process will see before it is complete.
    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        match self.database.take() {
            // A database that has panicked may do so again when it is closed.
            Some(database) => guarded(|| Ok(database.close()?)),
            None => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn closed() -> StoreError {
    io::Error::from(io::ErrorKind::NotConnected).into()
}

/// The result of `work`, in which redb may panic on the pages of a damaged file.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
        Err(StoreError::damaged(text))
    })
}

/// A file as redb uses it.
#[derive(Debug)]
struct Backend {
    file: Box<dyn DiskFile>,
    length: Arc<AtomicU64>,
    sync_failed: Arc<AtomicBool>,
    is_frozen: Arc<AtomicBool>,
}

impl Backend {
    fn check_writable(&self) -> io::Result<()> {
        match self.is_frozen.load(Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.file.set_len(len)?;
        self.length.store(len, Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync().inspect_err(|_| self.sync_failed.store(true, Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        self.file.write(offset, data)
    }
}
