//! The order in which calls begin that wait for room among the calls under way.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::tests::connection;
use super::*;

/// More than half of the bytes that the calls under way may have.
const LARGE: usize = MAX_CALL_BYTES / 2 - 100;

/// Counts the calls of a waker.
#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A task that waits to begin a call.
struct Caller {
    number: usize,
    bytes: usize,
    begin: BoxFuture<'static, Result<PendingCall, ClientError>>,
    wakes: Arc<WakeCounter>,
}

/// The tasks that begin calls on one connection.
struct Callers {
    connection: Arc<ClientConnection>,
    next: usize,
    /// In the order of arrival.
    waiting: Vec<Caller>,
    /// The calls under way: number, bytes, call.
    begun: Vec<(usize, usize, PendingCall)>,
}

impl Callers {
    fn new() -> Self {
        Callers { connection: connection(), next: 0, waiting: Vec::new(), begun: Vec::new() }
    }

    /// Adds a task, which is polled once, and then only when it is woken.
    fn begin(&mut self, bytes: usize) {
        let connection = self.connection.clone();
        let begin = async move { connection.begin(Call::Status, bytes).await }.boxed();
        self.waiting.push(Caller { number: self.next, bytes, begin, wakes: Arc::default() });
        self.next += 1;
        self.poll(self.waiting.len() - 1);
    }

    fn poll(&mut self, at: usize) {
        let caller = &mut self.waiting[at];
        caller.wakes.0.store(0, SeqCst);
        let waker = Waker::from(caller.wakes.clone());
        if let Poll::Ready(call) = caller.begin.poll_unpin(&mut Context::from_waker(&waker)) {
            let caller = self.waiting.remove(at);
            self.begun.push((caller.number, caller.bytes, call.unwrap()));
        }
    }

    /// Polls the tasks that are woken, the one at `first` modulo their number first, until none is woken.
    fn run(&mut self, first: usize) {
        let mut polls = 0;
        loop {
            let woken = |(_, caller): &(usize, &Caller)| caller.wakes.0.load(SeqCst) > 0;
            let woken: Vec<usize> = self.waiting.iter().enumerate().filter(woken).map(|(at, _)| at).collect();
            let Some(&at) = woken.get(first % woken.len().max(1)) else { return };
            polls += 1;
            assert!(polls <= 4 * (self.next + 1), "tasks wake each other without end");
            self.poll(at);
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        let under_way: usize = self.begun.iter().map(|(_, bytes, _)| bytes).sum();
        bytes == 0 || under_way == 0 || under_way + bytes <= MAX_CALL_BYTES / 2
    }

    /// Checks that each call that waits has a reason to. `places` is the number of calls that may be under way.
    fn check(&self, places: usize) -> Result<(), TestCaseError> {
        if self.begun.len() >= places {
            return Ok(());
        }
        let first_with_bytes = self.waiting.iter().find(|caller| caller.bytes > 0);
        let waits = first_with_bytes.filter(|caller| self.fits(caller.bytes));
        prop_assert!(waits.is_none(), "the first call with bytes waits although it fits");
        let small = self.waiting.iter().find(|caller| caller.bytes == 0);
        prop_assert!(small.is_none(), "a call that needs no bytes waits although there are places");
        Ok(())
    }
}

#[test]
fn a_large_call_is_not_overtaken_by_calls_that_need_bytes_and_delays_none_that_need_only_a_place() {
    let mut callers = Callers::new();
    callers.begin(LARGE);
    for bytes in [LARGE, 1000, 1000, 0, 0] {
        callers.begin(bytes);
    }
    callers.run(0);
    let begun: Vec<usize> = callers.begun.iter().map(|(number, ..)| *number).collect();
    assert_eq!(begun, [0, 4, 5], "the small calls pass, those with bytes wait behind the large one");
    callers.begun.remove(0);
    callers.run(0);
    assert_eq!(callers.begun.len(), 3, "the large one has begun, and those behind it do not fit");
    callers.begun.retain(|(number, ..)| *number != 1);
    callers.run(0);
    assert!(callers.waiting.is_empty());
}

#[test]
fn a_call_that_does_not_fit_keeps_no_place_from_those_that_fit() {
    let mut callers = Callers::new();
    callers.begin(LARGE);
    (2..MAX_CALLS / 2).for_each(|_| callers.begin(0));
    callers.begin(0);
    callers.run(0);
    for bytes in [LARGE, LARGE, 0, LARGE] {
        callers.begin(bytes);
    }
    callers.run(0);
    assert_eq!(callers.waiting.len(), 4, "all places are taken");
    callers.begun.pop();
    callers.run(0);
    assert_eq!(callers.waiting.len(), 3, "the small call has begun");
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    /// One of the waiting tasks gives up.
    GiveUp(usize),
    /// One of the calls under way ends.
    End(usize),
    /// The tasks that are woken run, this one of them first.
    Run(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![Just(0), 1usize..2000, Just(LARGE / 2), Just(LARGE), Just(2 * LARGE)];
    prop_oneof![
        4 => bytes.prop_map(Step::Begin),
        1 => any::<usize>().prop_map(Step::GiveUp),
        3 => any::<usize>().prop_map(Step::End),
        3 => any::<usize>().prop_map(Step::Run),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_call_waits_without_a_reason_whatever_ends_and_is_given_up(
        places in 1usize..8,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut callers = Callers::new();
        // So that places are scarce too.
        let connection = callers.connection.clone();
        let others: Vec<_> = (places..MAX_CALLS / 2).map(|_| connection.begin_now(Call::Status)).collect();
        for step in steps {
            match step {
                Step::Begin(bytes) => callers.begin(bytes),
                Step::GiveUp(at) if !callers.waiting.is_empty() => {
                    drop(callers.waiting.remove(at % callers.waiting.len()));
                }
                Step::End(at) if !callers.begun.is_empty() => {
                    drop(callers.begun.remove(at % callers.begun.len()));
                }
                Step::Run(first) => {
                    callers.run(first);
                    callers.check(places)?;
                }
                _ => {}
            }
        }
        // Calls that end one after another let every other one begin.
        callers.run(0);
        while !callers.begun.is_empty() {
            drop(callers.begun.remove(0));
            callers.run(0);
        }
        prop_assert!(callers.waiting.is_empty(), "{} calls wait for ever", callers.waiting.len());
        drop(others);
    }
}
