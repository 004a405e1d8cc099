//! A file that is read and never written: what the database writes to it stays in memory.
//!
//! A database writes already when it is opened and closed. In a file that is suspect this would do harm: the new
//! pages would reach the disk, and refer to others that are not there.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::DiskFile;

const PAGE: usize = 4096;

/// A file below, and the pages that were written since.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: Box<dyn DiskFile>,
    written: Mutex<WrittenPages>,
}

#[derive(Debug)]
struct WrittenPages {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    length: u64,
    /// The part of the file below that is still in use.
    below: u64,
}

impl Overlay {
    pub(crate) fn new(below: Box<dyn DiskFile>) -> io::Result<Self> {
        let length = below.len()?;
        let written = Mutex::new(WrittenPages { pages: BTreeMap::new(), length, below: length });
        Ok(Overlay { below, written })
    }

    fn lock(&self) -> MutexGuard<'_, WrittenPages> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contents of a page, from the file below if it was never written.
    fn page(&self, written: &WrittenPages, page: u64) -> io::Result<Box<[u8; PAGE]>> {
        if let Some(bytes) = written.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = Box::new([0; PAGE]);
        let start = page.saturating_mul(PAGE as u64);
        let present = usize::try_from(written.below.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
        if let Some(present) = bytes.get_mut(..present).filter(|present| !present.is_empty()) {
            self.below.read(start, present)?;
        }
        Ok(bytes)
    }
}

/// The pages that a range touches: each with the range within it, and the part of the bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0usize;
    std::iter::from_fn(move || {
        let at = offset.saturating_add(done as u64);
        let within = usize::try_from(at % PAGE as u64).unwrap_or(0);
        let take = (PAGE - within).min(length - done);
        let part = done..done + take;
        done = part.end;
        (take > 0).then_some((at / PAGE as u64, within..within + take, part))
    })
}

impl DiskFile for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, part) in parts(offset, out.len()) {
            out[part].copy_from_slice(&self.page(&written, page)?[within]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = self.lock();
        for (page, within, part) in parts(offset, bytes.len()) {
            let mut contents = self.page(&written, page)?;
            contents[within].copy_from_slice(&bytes[part]);
            written.pages.insert(page, contents);
        }
        written.length = written.length.max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.lock();
        written.length = length;
        written.below = written.below.min(length);
        written.pages.split_off(&length.div_ceil(PAGE as u64));
        let (page, rest) = (length / PAGE as u64, usize::try_from(length % PAGE as u64).unwrap_or(0));
        if let Some(last) = written.pages.get_mut(&page).filter(|_| rest > 0) {
            last[rest..].fill(0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any};
    use proptest::{collection, prop_assert_eq, proptest};

    use super::Overlay;
    use crate::disk::{Disk, DiskFile, MemoryDisk};

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0u64..20_000, collection::vec(any::<u8>(), 0..6000))
            .prop_map(|(at, bytes)| Step::Write(at, bytes));
        let step = proptest::prop_oneof![3 => write, 1 => (0u64..20_000).prop_map(Step::SetLen)];
        collection::vec(step, 0..12)
    }

    fn apply(file: &dyn DiskFile, step: &Step) {
        match step {
            Step::Write(at, bytes) => file.write(*at, bytes).unwrap(),
            Step::SetLen(length) => file.set_len(*length).unwrap(),
        }
    }

    fn contents(file: &dyn DiskFile) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn an_overlay_shows_what_was_written_and_leaves_the_file_below_as_it_is(below in steps(), above in steps()) {
            let (disk, model) = (MemoryDisk::default(), MemoryDisk::default());
            let (file, expected) = (disk.create("file").unwrap(), model.create("file").unwrap());
            for step in &below {
                apply(&*file, step);
                apply(&*expected, step);
            }
            let before = contents(&*file);
            let overlay = Overlay::new(disk.open("file").unwrap().unwrap()).unwrap();
            for step in &above {
                apply(&overlay, step);
                apply(&*expected, step);
                prop_assert_eq!(contents(&overlay), contents(&*expected));
            }
            prop_assert_eq!(contents(&*file), before);
        }
    }
}
