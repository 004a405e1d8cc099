//! Every fuzz target over its seeds and over mutations of them: without a fuzzer, and the same in every run.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rouse_adversary::fuzz::{FuzzTarget, TARGETS};
use rouse_netmod_udp::fuzz;

/// Mutations of the seeds of each target, all together.
const MUTATIONS: usize = 2000;
/// Targets that need sockets or a curve operation for each step get fewer inputs.
const DEAR: [(&str, usize); 4] =
    [("handshake", 300), ("session", 100), ("client_socket", 300), ("daemon_socket", 300)];
/// No mutation is longer, in bytes.
const LONGEST: usize = 16 << 10;

/// xorshift64* (Vigna 2016): the same nonsense in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit.max(1)
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A few small changes, or one to the structure: a part is removed, repeated, or taken from another seed.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let (from, to) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match random.below(8) {
            0 => bytes.truncate(to),
            1 => drop(bytes.drain(from..to)),
            2 => bytes.extend_from_within(from..to),
            3 => {
                let other = &seeds[random.below(seeds.len())];
                bytes.truncate(from);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            4 => bytes.insert(from, random.below(256) as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The input of the current run. It is printed when the target panics, because the panic names only the violated property.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("the input: {hex}");
        }
    }
}

fn run(name: &str, target: FuzzTarget) {
    let begin = Instant::now();
    let seeds = seeds(name);
    let check = |bytes: &[u8]| {
        let _input = Input(bytes);
        target(bytes);
    };
    check(&[]);
    seeds.iter().for_each(|seed| check(seed));
    let most = DEAR.iter().find(|(dear, _)| *dear == name).map_or(MUTATIONS, |(_, most)| *most);
    let mut random = Random(0x726f_7573_6521);
    for _ in 0..most {
        check(&mutated(&mut random, &seeds));
    }
    println!("{name}: {most} mutations of {} seeds in {:?}", seeds.len(), begin.elapsed());
}

macro_rules! targets {
    ($($test:ident, $name:literal;)*) => {
        $(#[test]
        fn $test() {
            run($name, target($name));
        })*

        /// Every target has seeds.
        #[test]
        fn every_target_is_run() {
            let mut run = vec![$($name),*];
            run.sort();
            let mut all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).chain(["beacon"]).collect();
            all.sort();
            assert_eq!(run, all);
            for name in all {
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/fuzz/fuzz_targets");
                assert!(program.join(name).with_extension("rs").exists(), "no program for {name}");
            }
        }
    };
}

targets! {
    announces_and_mutations_of_them_keep_their_promises, "announce";
    beacons_and_mutations_of_them_keep_their_promises, "beacon";
    no_bytes_of_a_daemon_leave_a_client_waiting, "client_socket";
    control_messages_and_mutations_of_them_keep_a_router_right, "control";
    no_bytes_of_a_client_harm_a_daemon, "daemon_socket";
    frames_and_mutations_of_them_keep_a_link_right, "frame";
    handshakes_and_mutations_of_them_keep_their_promises, "handshake";
    conversations_over_any_line_keep_their_promises, "message";
    packets_and_mutations_of_them_keep_a_node_right, "packet";
    sessions_over_any_relays_keep_their_promises, "session";
    texts_and_mutations_of_them_read_to_what_they_print, "text";
}

fn target(name: &str) -> FuzzTarget {
    let of_core = |name: &str| TARGETS.iter().find(|(known, _)| *known == name).unwrap().1;
    match name {
        "beacon" => fuzz::beacon,
        "text" => |bytes| {
            rouse_adversary::fuzz::text(bytes);
            fuzz::text(bytes);
        },
        name => of_core(name),
    }
}
