//! A disk that behaves as badly as disks do: a power cut loses what was not synced and tears writes, operations fail, and
//! room runs out.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use rouse_journal::{Disk, DiskFile};

use crate::random::{pick, seeded};
use image::{Change, Image};

mod image;

/// A fault of a [`SimDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write fails. A part of it may have been written.
    Write,
    /// A sync fails. The unsynced bytes are lost or not, and the next sync succeeds without them, as on Linux.
    Sync,
    /// All syncs fail from then on, until [`SimDisk::calm`].
    Syncs,
    /// The power fails before the operation: it and all later ones fail until [`SimDisk::restart`].
    PowerCut,
}

impl DiskFault {
    fn is_of_sync(self) -> bool {
        matches!(self, DiskFault::Sync | DiskFault::Syncs)
    }
}

/// A disk in memory that can lose power, fail, be full and be damaged. Its clones are the same disk.
///
/// ```
/// use rouse_journal::Disk;
/// use rouse_sim::SimDisk;
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new(7);
/// let file = disk.create("file")?;
/// disk.sync_names()?;
/// file.write(0, b"synced")?;
/// file.sync()?;
/// file.write(6, &[1; 4096])?;             // never synced
/// disk.restart();
///
/// assert!(file.sync().is_err(), "the file was open when the power failed");
/// let mut start = [0; 6];
/// disk.open("file")?.expect("a file").read(0, &mut start)?;
/// assert_eq!(&start, b"synced");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug)]
struct DiskState {
    random: ChaCha8Rng,
    files: Vec<StoredFile>,
    /// The names that programs see, those that would survive a power cut, and the changes between the two.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// The number of restarts. A file that was opened before the last one is dead.
    boot: u64,
    /// The operations until the next fault.
    fault: Option<(u64, DiskFault)>,
    is_off: bool,
    capacity: u64,
    syncs: u64,
    bytes_read: u64,
}

#[derive(Debug, Default)]
struct StoredFile {
    current: Image,
    synced: Image,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, file) => _ = names.insert(name.clone(), *file),
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            NameChange::Remove(name) => _ = names.remove(name),
        }
    }
}

impl SimDisk {
    /// An empty disk. All that it decides follows from the seed.
    pub fn new(seed: u64) -> Self {
        SimDisk {
            state: Arc::new(Mutex::new(DiskState {
                random: seeded(seed),
                files: Vec::new(),
                names: BTreeMap::new(),
                synced_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                boot: 0,
                fault: None,
                is_off: false,
                capacity: u64::MAX,
                syncs: 0,
                bytes_read: 0,
            })),
        }
    }

    /// Lets a fault happen at a write, sync or change of a name: the next one when `operations` is 0.
    pub fn fail_after(&self, operations: u64, fault: DiskFault) {
        self.lock().fault = Some((operations, fault));
    }

    /// Takes back a fault that has not happened yet, or that goes on.
    pub fn calm(&self) {
        self.lock().fault = None;
    }

    /// Sets the bytes for which there is room.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// The bytes in use.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The syncs of files that have succeeded.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The bytes that were read.
    pub fn bytes_read(&self) -> u64 {
        self.lock().bytes_read
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// Lets all operations fail from now on, as for a process that is killed, until [`SimDisk::resume`] or
    /// [`SimDisk::restart`].
    pub fn stop(&self) {
        self.lock().is_off = true;
    }

    /// Starts again without a loss, as after the death of a process, which leaves all that it has written.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.boot += 1;
        (state.is_off, state.fault) = (false, None);
    }

    /// Cuts the power, if it is not off yet, and starts again with what has survived: all that was synced, and of each
    /// unsynced write nothing, all or some of its sectors.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.boot += 1;
        (state.is_off, state.fault) = (false, None);
        let DiskState { random, files, .. } = &mut *state;
        for file in files {
            for change in std::mem::take(&mut file.unsynced) {
                change.tear(&mut file.synced, random);
            }
            file.current = file.synced.clone();
        }
        // A journal of the file system writes changes of names in their order.
        let changes = std::mem::take(&mut state.unsynced_names);
        let survive = pick(&mut state.random, changes.len() + 1);
        changes.iter().take(survive).for_each(|change| change.apply(&mut state.synced_names));
        state.names = state.synced_names.clone();
    }

    /// Flips bits of a file, each at a place with contents. Returns false when there is no such file, or it is empty.
    pub fn damage(&self, name: &str, bits: usize) -> bool {
        let mut state = self.lock();
        let DiskState { random, files, names, .. } = &mut *state;
        let Some(file) = names.get(name).and_then(|file| files.get_mut(*file)) else { return false };
        (0..bits).all(|_| {
            let mut flip = || (random.next_u64(), random.next_u32());
            let (at, bit) = flip();
            file.current.flip(at, bit) && file.synced.flip(at, bit)
        })
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: usize, boot: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), id, boot })
    }
}

impl DiskState {
    fn used(&self) -> u64 {
        let named: std::collections::BTreeSet<_> = self.names.values().collect();
        named.iter().filter_map(|id| self.files.get(**id)).map(|file| file.current.allocated()).sum()
    }

    /// Counts an operation that changes something. Returns the fault that happens at it.
    fn step(&mut self) -> io::Result<Option<DiskFault>> {
        self.check()?;
        match &mut self.fault {
            None => Ok(None),
            Some((0, fault)) => {
                let fault = *fault;
                if fault == DiskFault::Syncs {
                    return Ok(Some(fault));
                }
                self.fault = None;
                if fault == DiskFault::PowerCut {
                    self.is_off = true;
                    return Err(off());
                }
                Ok(Some(fault))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(None)
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_off { Err(off()) } else { Ok(()) }
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        self.step()?;
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        Ok(())
    }
}

fn off() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed")
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        let state = self.lock();
        state.check()?;
        Ok(state.names.get(name).map(|id| self.file(*id, state.boot)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let id = state.files.len();
        state.files.push(StoredFile::default());
        state.rename(NameChange::Set(name.to_owned(), id))?;
        Ok(self.file(id, state.boot))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().rename(NameChange::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.step()?.is_some_and(DiskFault::is_of_sync) {
            return Err(failed());
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        changes.iter().for_each(|change| change.apply(&mut state.synced_names));
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: usize,
    boot: u64,
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut DiskState, usize) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        state.check()?;
        if state.boot != self.boot {
            return Err(off());
        }
        work(&mut state, self.id)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.with(|state, id| {
            if state.step()? == Some(DiskFault::Write) {
                let DiskState { random, files, .. } = state;
                change.tear(&mut files[id].current, random);
                files[id].unsynced.push(change);
                return Err(failed());
            }
            let allocated = state.files[id].current.allocated();
            change.apply(&mut state.files[id].current);
            let grown = state.files[id].current.allocated() > allocated;
            state.files[id].unsynced.push(change);
            if grown && state.used() > state.capacity {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        })
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.files[id].current.len()))
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.with(|state, id| {
            state.bytes_read += bytes.len() as u64;
            match state.files[id].current.read(offset, bytes) {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::SetLen(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            let fails = state.step()?.is_some_and(DiskFault::is_of_sync);
            let DiskState { random, files, syncs, .. } = state;
            let file = &mut files[id];
            for change in std::mem::take(&mut file.unsynced) {
                match fails {
                    true => change.tear(&mut file.synced, random),
                    false => change.apply(&mut file.synced),
                }
            }
            if fails {
                return Err(failed());
            }
            *syncs += 1;
            Ok(())
        })
    }
}
