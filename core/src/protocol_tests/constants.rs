//! The constants that the specification names are those of the code: each stands here as the code has it, beside what
//! the specification says of it. Who changes one finds the sentence to change.

use std::fs;
use std::path::Path;

use super::SPECIFICATION;

const PINS: &[(&str, &str)] = &[
    // Handshake.
    ("const INITIATION_LEN: usize = 256;", "**must** have at least 256"),
    ("const MAX_HANDSHAKE_LEN: usize = 512;", "at least 6 and at most 512 bytes long"),
    ("const ANSWER_LIFE: Duration = Duration::from_secs(10);", "waits 10 s for the finish"),
    ("const HOLD: Duration = Duration::from_secs(2);", "for 2 s, or for 0.3 s if"),
    (
        "const HOLD_ELSEWHERE: Duration = Duration::from_millis(300);",
        "or for 0.3 s if that other handshake comes from another endpoint",
    ),
    ("const KEEP: Duration = Duration::from_secs(3);", "the response comes again, for 3 s"),
    ("const TRIES: u32 = 5;", "its initiation 5 times at most"),
    ("const FIRST_DELAY: Duration = Duration::from_millis(250);", "0.25 s apart, doubling"),
    (
        "const GIVE_WAY: Duration = Duration::from_secs(1);",
        "that has had a second without an answer gives way",
    ),
    (
        "[Duration::from_millis(250), Duration::from_millis(750), Duration::from_millis(1750)]",
        "again 0.25, 0.75 and 1.75 s later",
    ),
    ("const SECRET_LIFE: Duration = Duration::from_secs(120);", "a secret renewed every 120 s"),
    ("const MAX_BUCKETS: usize = 1024;", "1024 endpoints and 1024 groups are remembered"),
    ("max_answers: 256,", "256 answers wait"),
    ("rate: 5,", "more than 5 a second (at once: 5) from this endpoint"),
    ("load: 50,", "more than 50 initiations in this second or the last"),
    ("b\"rouse link 1; ChaCha20-Poly1305, AES-256-GCM\"", "rouse link 1; ChaCha20-Poly1305, AES-256-GCM\n"),
    ("b\"rouse link data 1\"", "info = \"rouse link data 1\" ‖ suite"),
    // Link.
    ("const WORDS: u64 = 33;", "A window of 2048 counters"),
    ("const HELLO: Duration = Duration::from_secs(1);", "every 1 s, give or take an eighth"),
    ("const HELLO_OFTEN: Duration = Duration::from_millis(500);", "0.5 s while a link"),
    ("const ANSWER_AFTER: Duration = Duration::from_millis(20);", "20 ms after the packet, unless"),
    ("const ANSWER_GAP: Duration = Duration::from_millis(5);", "at once, but 5 ms apart"),
    ("const PATIENCE: Duration = Duration::from_millis(50);", "max(3·srtt, 50 ms)"),
    (
        "const FIRST_PATIENCE: Duration = Duration::from_secs(1);",
        "max(3·h, 1 s) before a round trip is known",
    ),
    ("const IDLE_DOUBT: Duration = Duration::from_millis(2400);", "nothing came for 2.4 s"),
    ("const PROBE_GAP: Duration = Duration::from_millis(50);", "max(50 ms, srtt/2) apart"),
    ("const SUSPECT_GAP: Duration = Duration::from_millis(100);", "max(100 ms, srtt/2) apart"),
    ("const PROBES: u32 = 3;", "apart; 3, or 6 where"),
    ("const DOWN_AFTER: Duration = Duration::from_secs(1);", "1 s after it became suspect"),
    ("const LATE: Duration = Duration::from_millis(25);", "more than 25 ms late"),
    ("const MAX_EXCUSES: u32 = 5;", "proves nothing; five times in a row"),
    ("const ECHO_LIFE: Duration = Duration::from_secs(10);", "none came in the last 10 s"),
    ("const MAX_RTT: Duration = Duration::from_secs(60);", "60 s is passed over"),
    ("const US_PER_COST: u64 = 500;", "rttmin / 0.5 ms"),
    ("const WINDOW: usize = 64;", "At most 64 segments are unacknowledged"),
    ("const QUEUE: usize = 1 << 20;", "Up to 1 MiB may wait"),
    ("const MAX_STREAM: usize = 256 << 10;", "256 KiB of stream unread"),
    ("const ACK_DELAY: Duration = Duration::from_millis(5);", "It acknowledges within 5 ms"),
    ("const FIRST_WINDOW: usize = 16;", "The window begins with 16"),
    ("const LEAST_WINDOW: usize = 4;", "never below 4"),
    (
        "const STEPS: [usize; 6] = [640, 768, 950, 1080, 1400, 1452];",
        "640, 768, 950, 1080, the base, 1400, 1452 and the most",
    ),
    (
        "const NO_RTT_PATIENCE: Duration = Duration::from_millis(250);",
        "(250 ms before a round trip is known)",
    ),
    (
        "const DOUBT_PATIENCE: Duration = Duration::from_millis(100);",
        "100 ms for a probe of the present length",
    ),
    ("const FIRST_RAISE: Duration = Duration::from_millis(250);", "a long one is tried after 250 ms"),
    ("const SMALLER_PACKETS: [usize; 2] = [1200, 446];", "after two more, or if they were no longer, 446"),
    ("const WARM: u64 = 256;", "When 256 frames have been sent"),
    (
        "const CONFIRM: Duration = Duration::from_secs(1);",
        "a probe of the present length follows every second",
    ),
    ("const RETRY: Duration = Duration::from_secs(600);", "and the next try is in 10 min"),
    ("const HOLE: Duration = Duration::from_secs(60);", "It is tried again after 60 s, doubling to 10 min"),
    ("const LIFE: Duration = Duration::from_secs(120);", "after 2 min, up to a tenth later"),
    ("const KEEP_OLD: Duration = Duration::from_secs(10);", "opens both for 10 s"),
    ("const MOST: usize = 4;", "at most four endpoints at a time"),
    ("const GAP: Duration = Duration::from_millis(50);", "each asked at most every 50 ms, for 3 s"),
    ("b\"rouse link rekey 1\"", "The prologue is `rouse link rekey 1` and the new generation"),
    // Routes.
    ("const MAX_MESSAGE: usize = 4096;", "back to back, at most 4096 bytes"),
    ("const MAX_EXTENSIONS: usize = 256;", "| length, extensions | 2 + up to 256 |"),
    ("const MAX_IDX: u32 = 1 << 17;", "on one link, below 2¹⁷"),
    ("b\"rouse announce 1\"", "the 16 bytes `rouse announce 1`"),
    ("const PACK: usize = 1000;", "senders pack up to 1000"),
    ("const GRACE: u32 = 60;", "forgotten 60 s after its last announce expired"),
    ("const CUT_OUT_AFTER: Duration = Duration::from_millis(250);", "**away** 250 ms later"),
    ("const CUT_GAP: Duration = Duration::from_millis(125);", "at once and after 125 and 250 ms"),
    ("const KEPT: Duration = Duration::from_secs(4);", "After 4 s more of silence"),
    ("const STEADY: Duration = Duration::from_secs(2);", "better by an eighth for 2 s"),
    ("const LASTING: Duration = Duration::from_secs(10);", "better by a sixteenth for 10 s, counted"),
    ("const WISH: Duration = Duration::from_secs(10);", "it is asked for as well, at most every 10 s"),
    ("(Duration::from_millis(5), Duration::from_millis(10))", "5 to 10 ms after the first change"),
    ("const CALM: Duration = Duration::from_secs(6);", "that came within 6 s of the one before"),
    ("const FOUND_AGAIN: Duration = Duration::from_millis(250);", "not before 250 ms after the last loss"),
    ("const HOLD: Duration = Duration::from_millis(200);", "200 ms apart, doubling to 2 s"),
    ("const SPREAD: Duration = Duration::from_secs(60);", "at a random time in the next 60 s"),
    ("const KNOWN_AFTER: u16 = 2;", "learnt less than 2 s ago"),
    ("const PIECE: usize = 256;", "256 records every 10 ms"),
    ("const FLAPS: u32 = 3;", "went down three times"),
    ("const PROBATION: Duration = Duration::from_secs(10);", "for 10 s for each failure from the third on"),
    ("const RELUCTANCE: Duration = Duration::from_secs(1);", "told the table only after 1 s"),
    ("const AGAIN: Duration = Duration::from_millis(60);", "again after 60 ms, doubling to 2 s"),
    ("const FORGOT: usize = 3;", "From the third repetition on"),
    ("const PASS: Duration = Duration::from_millis(30);", "and 30 ms have passed since the last request"),
    ("const REMEMBER: Duration = Duration::from_secs(5);", "remembers the requester for 5 s (64 of them"),
    ("const MAX_IDS: usize = 8;", "not among the last 8 seen"),
    ("const JUMPS: usize = 3;", "After three jumps within 60 s"),
    ("const YIELD: Duration = Duration::from_secs(600);", "does not jump for 10 min"),
    ("lifetime: 5400,", "| lifetime | 2 | seconds that it is good for; here 5400 |"),
    ("new_per_second: 20,", "may introduce 20 a second, 2048 at once"),
    ("const BURIAL: Duration = Duration::from_secs(5);", "its FD kept for 5 s more"),
    (
        "const LABEL: &[u8; 8] = b\"rousehop\";",
        "first 16 bytes of BLAKE3( \"rousehop\" ‖ destination 32 ‖ seq 8",
    ),
    ("const LINKS: u8 = 64;", "hashes it 64 times and signs the result"),
    ("RangeInclusive<u8> = 7..=127;", "| `07`…`7f` | reserved | length 2, so many bytes"),
    ("const FORGED: u32 = 65;", "one that does not hold counts as 65"),
    ("const MAX_PENDING: usize = 1024;", "1024 announces of a neighbour may wait"),
    ("const REST: Duration = Duration::from_secs(60);", "for 60 s, and twice as long each time"),
    ("const DEARER: u16 = 4;", "the route counts four times its metric"),
    ("const EXCUSE: Duration = Duration::from_secs(2);", "goes down within 2 s of the verdict"),
    ("const VERDICT: u32 = 16;", "counts as 16 lost"),
    ("const SILENCE_EVERY: Duration = Duration::from_millis(250);", "at least 250 ms after the first"),
    ("const DUMP_SHARE: u64 = 2;", "answers to WANT take half of that at most"),
    ("const RENEWAL_SHARE: u64 = 50;", "and renewals a fiftieth"),
    // Packets and messages.
    ("const HOP_LIMIT: u8 = 64;", "| 1 | hop limit | 64 at the start |"),
    ("const MAX_RANGES: usize = 32;", "ranges 1 (1 to 32)"),
    ("const INITIAL_CREDIT: u64 = 256 << 10;", "it is 256 KiB and 1024 messages"),
    ("const WINDOW: u64 = 4096;", "At most 4096 sequences from the floor"),
    ("const RECEIPT_DELAY: Duration = Duration::from_millis(1);", "1 ms after if a *last* came"),
    ("const CONFIRM_DELAY: Duration = Duration::from_secs(1);", "After 1 s without a packet of the sender"),
    ("const MAX_ACK_DELAY: Duration = Duration::from_millis(25);", "else within 25 ms"),
    ("const KEPT: usize = 128;", "of 128 ranges of numbers the oldest"),
    ("const INITIAL: Duration = Duration::from_millis(100);", "first round trip 100 ms"),
    ("const SMALLEST_CUT: usize = 128;", "none below 128 bytes"),
    ("const BLACK_HOLE: u32 = 2;", "After two probe time-outs packets are at most 1200 bytes"),
    (
        "const GREETING_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);",
        "at least 10 ms apart",
    ),
];

/// All code of the layers that the specification is about, tests and all.
fn code(folder: &Path, all: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            code(&path, all);
        } else {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_constant_of_the_code_is_that_of_the_specification() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = fs::read_to_string(source.join("link.rs")).unwrap();
    for file in ["route.rs", "message.rs"] {
        all.push_str(&fs::read_to_string(source.join(file)).unwrap());
    }
    for folder in ["wire", "link", "route", "message"] {
        code(&source.join(folder), &mut all);
    }
    // Wherever the lines of the text are broken.
    let text = SPECIFICATION.split_whitespace().collect::<Vec<_>>().join(" ");
    for (constant, sentence) in PINS {
        assert!(all.contains(constant), "the code has no longer {constant}, of which it says: {sentence}");
        assert!(text.contains(sentence.trim()), "the specification does not say: {sentence} ({constant})");
    }
}
