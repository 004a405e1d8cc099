//! The contents of a file, in pages, of which only those with contents take memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

const PAGE: u64 = 4096;
/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

type Page = [u8; PAGE as usize];

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// Shared, so that what was synced and what was not take memory only where they differ.
    pages: BTreeMap<u64, Arc<Page>>,
    length: u64,
}

/// A change of a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// The bytes of the pages with contents.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Reads bytes; returns false when the file is shorter.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.length) {
            return false;
        }
        for (page, within, part) in parts(offset, out.len()) {
            match self.pages.get(&page) {
                Some(bytes) => out[part.clone()].copy_from_slice(&bytes[within..within + part.len()]),
                None => out[part].fill(0),
            }
        }
        true
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, part) in parts(offset, bytes.len()) {
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(target)[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    fn set_len(&mut self, length: u64) {
        self.length = length;
        self.pages.split_off(&length.div_ceil(PAGE));
        let rest = (length % PAGE) as usize;
        if let Some(last) = self.pages.get_mut(&(length / PAGE)).filter(|_| rest > 0) {
            Arc::make_mut(last)[rest..].fill(0);
        }
    }

    /// Flips one bit of a page with contents; returns false when there is none.
    pub(super) fn flip(&mut self, at: u64, bit: u32) -> bool {
        let pages = self.pages.len() as u64;
        let Some((_, page)) = at.checked_rem(pages).and_then(|n| self.pages.iter_mut().nth(n as usize))
        else {
            return false;
        };
        Arc::make_mut(page)[bit as usize % PAGE as usize] ^= 1 << (bit >> 29);
        true
    }
}

/// The pages that a range touches: each with the offset within it, and the part of the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let part = done..length.min(done + PAGE as usize - within);
        done = part.end;
        (!part.is_empty()).then_some((at / PAGE, within, part))
    })
}

impl Change {
    pub(super) fn apply(&self, image: &mut Image) {
        match self {
            Change::Write(offset, bytes) => image.write(*offset, bytes),
            Change::SetLen(length) => image.set_len(*length),
        }
    }

    /// Applies the change, nothing of it, or some of the sectors that it writes.
    pub(super) fn tear(&self, image: &mut Image, random: &mut ChaCha8Rng) {
        match random.next_u32() % 3 {
            0 => {}
            1 => self.apply(image),
            _ => {
                let Change::Write(offset, bytes) = self else { return };
                let mut start = 0;
                while start < bytes.len() {
                    let into_sector = (*offset as usize + start) % SECTOR;
                    let end = bytes.len().min(start + SECTOR - into_sector);
                    if random.next_u32().is_multiple_of(2) {
                        image.write(offset + start as u64, &bytes[start..end]);
                    }
                    start = end;
                }
            }
        }
    }
}
