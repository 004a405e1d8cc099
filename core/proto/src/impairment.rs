//! The impairment of single frames: the pure half of the medium in memory.
//!
//! An [`Impairer`] is one direction between two nodes. It is given the time and a frame, and returns the copies that
//! arrive and their delays. It reads no clock, waits for nothing, and draws from a seeded generator, so that the same
//! frames at the same times are impaired in the same way in every run, in a test and in a simulation alike.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::time::Time;

/// The impairments of one direction between two nodes. The default is a perfect medium: no frame is lost or delayed.
///
/// Shares are probabilities from 0 to 1, applied to each frame by itself. A value outside is treated as the nearer end,
/// and one that is not a number as 0.
///
/// ```
/// use std::time::Duration;
/// use rouse_proto::impairment::Impairments;
///
/// let radio = Impairments { loss: 0.1, delay: Duration::from_millis(20), ..Impairments::default() };
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Impairments {
    /// The share of frames that never arrive.
    pub loss: f64,
    /// The delay of every frame.
    pub delay: Duration,
    /// The largest additional delay, drawn uniformly for each frame. Frames keep their order.
    pub jitter: Duration,
    /// The share of frames that arrive twice. The second copy has a delay and a jitter of its own.
    pub duplicate: f64,
    /// The share of frames that are held back for [`hold`](Self::hold), so that later ones overtake them.
    pub reorder: f64,
    /// The time for which a reordered frame is held back.
    pub hold: Duration,
    /// The share of frames that arrive with one bit changed.
    pub corrupt: f64,
    /// The rate of the direction in bytes per second; `None` for an unlimited one.
    pub rate: Option<u64>,
    /// With a rate: a frame that would have to wait longer than this for earlier ones is dropped.
    pub backlog: Duration,
    /// Whether no frame and no announcement arrives.
    pub cut: bool,
}

impl Default for Impairments {
    fn default() -> Self {
        Impairments {
            loss: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            duplicate: 0.0,
            reorder: 0.0,
            hold: Duration::from_millis(5),
            corrupt: 0.0,
            rate: None,
            backlog: Duration::from_millis(100),
            cut: false,
        }
    }
}

impl Impairments {
    /// Whether every frame arrives at once and unchanged.
    pub fn is_perfect(&self) -> bool {
        let Impairments { loss, delay, jitter, duplicate, reorder, hold: _, corrupt, rate, backlog: _, cut } =
            self;
        let never = |share: &f64| share.is_nan() || *share <= 0.0;
        [loss, duplicate, reorder, corrupt].into_iter().all(never)
            && delay.is_zero()
            && jitter.is_zero()
            && rate.is_none()
            && !cut
    }
}

/// The number of frames of one direction, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames handed in.
    pub sent: u64,
    /// Copies put into the receiver's queue, including those in transit.
    pub passed: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost because the direction was cut.
    pub cut: u64,
    /// Frames dropped because the backlog of a limited rate was full.
    pub backlogged: u64,
    /// Frames dropped because the receiver's queue was full.
    pub overflowed: u64,
    /// Frames for a receiver that was not open.
    pub absent: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames that were held back.
    pub reordered: u64,
    /// Copies with a changed bit.
    pub corrupted: u64,
}

/// One direction between two nodes.
#[derive(Debug)]
pub struct Impairer {
    impairments: Impairments,
    rng: ChaCha8Rng,
    /// The time at which the last frame that kept its order arrives; none after it may arrive earlier.
    last_arrival: Time,
    /// The time from which the limited rate has room again.
    busy_until: Time,
    scratch: Vec<u8>,
    /// The frames so far, by outcome.
    pub counts: Counts,
}

impl Impairer {
    /// A direction with these impairments, whose chance is drawn from `seed` only.
    pub fn new(seed: [u8; 32], impairments: Impairments) -> Self {
        Impairer {
            impairments,
            rng: ChaCha8Rng::from_seed(seed),
            last_arrival: Time::ZERO,
            busy_until: Time::ZERO,
            scratch: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The impairments at present.
    pub fn impairments(&self) -> &Impairments {
        &self.impairments
    }

    /// Changes the impairments from now on. Frames in transit arrive as before, and later ones do not overtake them,
    /// except by reordering.
    pub fn set(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// On a perfect medium, the arrival of a whole train of this many frames, which then needs no pass over each frame.
    /// `None` if each frame has to [`pass`](Self::pass) by itself.
    pub fn pass_whole(&mut self, now: Time, frames: u64) -> Option<Time> {
        if !self.impairments.is_perfect() {
            return None;
        }
        self.counts.sent += frames;
        self.counts.passed += frames;
        Some(self.in_order(now))
    }

    /// Calls `arrive` for each copy of `frame` that arrives, with its time. Frames are given in order of time.
    pub fn pass(&mut self, now: Time, frame: &[u8], mut arrive: impl FnMut(Time, &[u8])) {
        if let Some(due) = self.pass_whole(now, 1) {
            return arrive(due, frame);
        }
        self.counts.sent += 1;
        if self.impairments.cut {
            self.counts.cut += 1;
            return;
        }
        // Each frame draws the same count of numbers whatever its outcome, so that no frame shifts the draws of
        // another.
        let draws = FrameDraws::draw(&mut self.rng);
        let Impairments { loss, delay, jitter, duplicate, reorder, hold, corrupt, .. } = self.impairments;
        let Some(leaves) = self.leaves(now, frame.len()) else {
            self.counts.backlogged += 1;
            return;
        };
        if draws.lost < loss {
            self.counts.lost += 1;
            return;
        }
        let late = |share: f64| delay + jitter.mul_f64(share);
        let due = if draws.reordered < reorder {
            self.counts.reordered += 1;
            leaves + late(draws.jitter) + hold
        } else {
            self.in_order(leaves + late(draws.jitter))
        };
        let mut bytes = frame;
        if draws.corrupted < corrupt && !frame.is_empty() {
            self.counts.corrupted += 1;
            self.scratch.clear();
            self.scratch.extend_from_slice(frame);
            flip(&mut self.scratch, draws.bit);
            bytes = &self.scratch;
        }
        self.counts.passed += 1;
        arrive(due, bytes);
        if draws.duplicated < duplicate {
            self.counts.duplicated += 1;
            self.counts.passed += 1;
            arrive(due + late(draws.second_jitter), frame);
        }
    }

    /// The time at which the last byte is transmitted; `None` if the backlog has no room for the frame.
    fn leaves(&mut self, now: Time, length: usize) -> Option<Time> {
        let Some(rate) = self.impairments.rate else { return Some(now) };
        if self.busy_until.since(now) > self.impairments.backlog {
            return None;
        }
        let nanos = length as u128 * 1_000_000_000 / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now) + takes;
        Some(self.busy_until)
    }

    fn in_order(&mut self, due: Time) -> Time {
        self.last_arrival = self.last_arrival.max(due);
        self.last_arrival
    }
}

/// The random draws for one frame, each from 0 to 1. An impairment applies if its draw is below its share.
struct FrameDraws {
    lost: f64,
    duplicated: f64,
    reordered: f64,
    corrupted: f64,
    jitter: f64,
    second_jitter: f64,
    bit: u64,
}

impl FrameDraws {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        // An f64 holds 53 bits, so that every value is below 1.
        let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (lost, duplicated, reordered, corrupted) = (unit(), unit(), unit(), unit());
        let (jitter, second_jitter) = (unit(), unit());
        FrameDraws { lost, duplicated, reordered, corrupted, jitter, second_jitter, bit: rng.next_u64() }
    }
}

fn flip(bytes: &mut [u8], choice: u64) {
    let bit = choice % (bytes.len() as u64 * 8);
    if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 10_000;

    fn impairer(impairments: Impairments) -> Impairer {
        Impairer::new([7; 32], impairments)
    }

    /// Sends numbered frames, one each millisecond. Returns the arrivals in order.
    fn arrivals(impairer: &mut Impairer) -> Vec<(Time, Vec<u8>)> {
        let mut all = Vec::new();
        for n in 0..FRAMES {
            impairer
                .pass(Time::from_millis(n), &n.to_le_bytes(), |due, bytes| all.push((due, bytes.to_vec())));
        }
        all.sort_by_key(|(due, _)| *due);
        all
    }

    fn numbers(arrivals: &[(Time, Vec<u8>)]) -> Vec<u64> {
        arrivals.iter().map(|(_, bytes)| u64::from_le_bytes(bytes.as_slice().try_into().unwrap())).collect()
    }

    fn about(count: u64, share: f64) -> bool {
        (count as f64 - FRAMES as f64 * share).abs() < FRAMES as f64 * 0.02
    }

    #[test]
    fn a_perfect_medium_changes_nothing() {
        let mut impairer = impairer(Impairments::default());
        let all = arrivals(&mut impairer);
        assert_eq!(numbers(&all), (0..FRAMES).collect::<Vec<_>>());
        assert!(all.iter().zip(0..).all(|((due, _), n)| *due == Time::from_millis(n)));
    }

    #[test]
    fn the_configured_share_is_lost() {
        let mut impairer = impairer(Impairments { loss: 0.3, ..Impairments::default() });
        let all = arrivals(&mut impairer);
        assert_eq!(all.len() as u64 + impairer.counts.lost, FRAMES);
        assert!(about(impairer.counts.lost, 0.3), "{} lost", impairer.counts.lost);
    }

    #[test]
    fn delay_and_jitter_make_frames_late_but_keep_their_order() {
        let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(30));
        let mut impairer = impairer(Impairments { delay, jitter, ..Impairments::default() });
        let all = arrivals(&mut impairer);
        assert_eq!(numbers(&all), (0..FRAMES).collect::<Vec<_>>());
        let late: Vec<_> = all.iter().zip(0..).map(|((due, _), n)| due.since(Time::from_millis(n))).collect();
        assert!(late.iter().all(|late| *late >= delay && *late <= delay + jitter));
        assert!(late.iter().max().unwrap().saturating_sub(*late.iter().min().unwrap()) > jitter / 2);
    }

    #[test]
    fn duplicates_are_copies_of_sent_frames() {
        let mut impairer = impairer(Impairments { duplicate: 0.2, ..Impairments::default() });
        let all = numbers(&arrivals(&mut impairer));
        assert!(about(impairer.counts.duplicated, 0.2));
        assert_eq!(all.len() as u64, FRAMES + impairer.counts.duplicated);
        let mut unique = all.clone();
        unique.dedup();
        assert_eq!(unique, (0..FRAMES).collect::<Vec<_>>());
    }

    #[test]
    fn a_reordered_frame_is_overtaken_by_those_of_the_next_milliseconds() {
        let hold = Duration::from_micros(3_500);
        let mut impairer = impairer(Impairments { reorder: 0.1, hold, ..Impairments::default() });
        let all = numbers(&arrivals(&mut impairer));
        assert!(about(impairer.counts.reordered, 0.1));
        let behind = all.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        assert!(behind > 0 && behind <= impairer.counts.reordered);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..FRAMES).collect::<Vec<_>>());
    }

    #[test]
    fn a_corrupted_frame_has_exactly_one_bit_wrong() {
        let mut impairer = impairer(Impairments { corrupt: 0.2, ..Impairments::default() });
        let all = numbers(&arrivals(&mut impairer));
        assert!(about(impairer.counts.corrupted, 0.2));
        let wrong: Vec<u32> =
            all.iter().zip(0..).map(|(got, sent): (_, u64)| (got ^ sent).count_ones()).collect();
        assert!(wrong.iter().all(|bits| *bits <= 1));
        assert_eq!(wrong.iter().sum::<u32>() as u64, impairer.counts.corrupted);
    }

    #[test]
    fn a_rate_spaces_frames_and_drops_those_that_wait_too_long() {
        let backlog = Duration::from_millis(50);
        let mut impairer = impairer(Impairments { rate: Some(4_000), backlog, ..Impairments::default() });
        let all = arrivals(&mut impairer);
        // 8 bytes take 2 ms at 4 kB/s, and one frame is sent each millisecond, so half of them fit.
        assert!(about(all.len() as u64, 0.5), "{} fit", all.len());
        assert!(all.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= Duration::from_millis(2)));
        assert_eq!(all.len() as u64 + impairer.counts.backlogged, FRAMES);
        let latest = all.iter().zip(numbers(&all)).map(|((due, _), n)| due.since(Time::from_millis(n))).max();
        assert!(latest.unwrap() <= backlog + Duration::from_millis(2));
    }

    #[test]
    fn a_cut_direction_carries_nothing_until_it_is_healed() {
        let mut impairer = impairer(Impairments { cut: true, ..Impairments::default() });
        assert!(arrivals(&mut impairer).is_empty());
        assert_eq!(impairer.counts.cut, FRAMES);
        impairer.set(Impairments::default());
        assert_eq!(arrivals(&mut impairer).len() as u64, FRAMES);
    }

    #[test]
    fn the_same_seed_impairs_every_frame_in_the_same_way() {
        let bad = Impairments {
            loss: 0.1,
            jitter: Duration::from_millis(9),
            duplicate: 0.1,
            reorder: 0.1,
            corrupt: 0.1,
            ..Impairments::default()
        };
        let run = |seed| arrivals(&mut Impairer::new(seed, bad.clone()));
        assert_eq!(run([1; 32]), run([1; 32]));
        assert_ne!(run([1; 32]), run([2; 32]));
    }

    #[test]
    fn a_share_that_is_not_a_number_never_happens() {
        let mut impairer = impairer(Impairments { loss: f64::NAN, corrupt: -1.0, ..Impairments::default() });
        assert_eq!(arrivals(&mut impairer).len() as u64, FRAMES);
    }
}
