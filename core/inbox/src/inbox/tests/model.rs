//! Random operations compared with a plain `VecDeque`: the same items are received in the same order, and no task
//! sleeps that should run.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// One step of a random schedule.
#[derive(Clone, Debug)]
enum Step {
    TryPush(u32),
    TryPushBatch(Vec<u32>),
    TryRecv,
    TryRecvBatch(usize),
    GiveBack,
    Close,
    /// Starts a future and polls it once.
    StartRecv,
    StartPush(u32),
    /// Polls, or drops, one of the pending futures.
    Poll(prop::sample::Index),
    Cancel(prop::sample::Index),
    /// Polls the woken tasks until none is woken.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let item = 0_u32..8;
    prop_oneof![
        4 => item.clone().prop_map(Step::TryPush),
        2 => prop::collection::vec(item.clone(), 0..6).prop_map(Step::TryPushBatch),
        3 => Just(Step::TryRecv),
        2 => (0_usize..6).prop_map(Step::TryRecvBatch),
        1 => Just(Step::GiveBack),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Step::Close } else { Step::TryRecv }),
        3 => Just(Step::StartRecv),
        3 => item.prop_map(Step::StartPush),
        2 => any::<prop::sample::Index>().prop_map(Step::Poll),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => Just(Step::Settle),
    ]
}

/// The reference: an unsynchronised queue with the same bounds.
struct Model {
    queue: VecDeque<u32>,
    items: usize,
    bytes: usize,
    full: Full,
    closed: bool,
    given: Vec<u32>,
}

impl Model {
    fn fits(&self, item: u32) -> bool {
        self.queue.len() < self.items && (self.queue.iter().sum::<u32>() + item) as usize <= self.bytes
    }

    fn too_large(&self, item: u32) -> bool {
        item as usize > self.bytes
    }

    fn write(&mut self, item: u32) {
        if self.full == Full::DropOldest {
            while !self.fits(item) && !self.queue.is_empty() {
                self.queue.pop_front();
            }
        }
        self.queue.push_back(item);
    }

    fn read(&mut self, item: u32) {
        assert_eq!(self.queue.pop_front(), Some(item), "the oldest comes first");
        self.given.push(item);
    }
}

/// A pending operation and the future that performs it.
enum Operation<'a> {
    Recv(Task<Recv<'a, u32>>),
    Push(Task<Push<'a, u32>>, u32),
}

impl Operation<'_> {
    fn wakes(&self) -> usize {
        match self {
            Operation::Recv(task) => task.wakes(),
            Operation::Push(task, _) => task.wakes(),
        }
    }

    /// Polls the task and compares its result with the model. Returns whether it is done.
    fn poll(&mut self, model: &mut Model) -> bool {
        match self {
            Operation::Recv(task) => match task.poll() {
                Poll::Ready(Ok(item)) => model.read(item),
                Poll::Ready(Err(Closed)) => assert!(model.closed && model.queue.is_empty()),
                Poll::Pending => {
                    assert!(!model.closed && model.queue.is_empty());
                    return false;
                }
            },
            Operation::Push(task, item) => match task.poll() {
                Poll::Ready(Ok(())) => {
                    assert!(!model.closed && !model.too_large(*item));
                    assert!(model.full == Full::DropOldest || model.fits(*item), "never beyond the bounds");
                    model.write(*item);
                }
                Poll::Ready(Err(PushError::Closed(_))) => assert!(model.closed),
                Poll::Ready(Err(PushError::TooLarge(back))) => {
                    assert!(back == *item && model.too_large(*item))
                }
                Poll::Ready(Err(PushError::Full(back))) => {
                    assert!(back == *item && model.full == Full::RefuseNewest && !model.fits(*item));
                }
                Poll::Pending => {
                    assert!(model.full == Full::Wait && !model.closed);
                    return false;
                }
            },
        }
        true
    }
}

/// The pending futures, each with the number of its wakes that were followed by a poll.
type Operations<'a> = Vec<(Operation<'a>, usize)>;

fn settle(under_way: &mut Operations<'_>, model: &mut Model) {
    while let Some(at) = under_way.iter().position(|(doing, answered)| doing.wakes() > *answered) {
        let (doing, answered) = &mut under_way[at];
        *answered = doing.wakes();
        if doing.poll(model) {
            under_way.remove(at);
        }
    }
    let waits = |reader: bool| {
        under_way.iter().filter(move |(doing, _)| matches!(doing, Operation::Recv(_)) == reader)
    };
    assert!(model.queue.is_empty() || waits(true).count() == 0, "a reader sleeps beside an item");
    // The first writer in line must not sleep when there is room for it.
    let first = waits(false).map(|(doing, _)| doing).next();
    if let Some(Operation::Push(_, item)) = first {
        assert!(!model.fits(*item), "a writer sleeps beside room");
    }
}

fn try_push(inbox: &Inbox<u32>, model: &mut Model, under_way: &Operations<'_>, item: u32) {
    match inbox.try_push(item) {
        Ok(()) => {
            assert!(!model.closed && !model.too_large(item));
            assert!(model.full == Full::DropOldest || model.fits(item));
            model.write(item);
        }
        Err(PushError::Closed(back)) => assert!(model.closed && back == item),
        Err(PushError::TooLarge(back)) => assert!(model.too_large(item) && back == item),
        Err(PushError::Full(back)) => {
            assert!(model.full != Full::DropOldest && back == item);
            let a_writer_waits = under_way.iter().any(|(doing, _)| matches!(doing, Operation::Push(..)));
            assert!(!model.fits(item) || (model.bytes < usize::MAX && a_writer_waits));
        }
    }
}

fn try_push_batch(inbox: &Inbox<u32>, model: &mut Model, batch: Vec<u32>) {
    let mut rest = batch.clone();
    match inbox.try_push_batch(&mut rest) {
        Err(Closed) => assert!(model.closed && rest == batch),
        Ok(written) => {
            let gone = &batch[..batch.len() - rest.len()];
            let good: Vec<_> = gone.iter().copied().filter(|item| !model.too_large(*item)).collect();
            assert_eq!(good.len(), written);
            for item in good {
                assert!(model.full == Full::DropOldest || model.fits(item));
                model.write(item);
            }
            assert!(model.full != Full::DropOldest || rest.is_empty());
        }
    }
}

/// Begins an operation, which stays under way unless it is done at its first poll.
fn start<'a>(mut operation: Operation<'a>, model: &mut Model, under_way: &mut Operations<'a>) {
    if !operation.poll(model) {
        under_way.push((operation, 0));
    }
}

fn take_step<'a>(inbox: &'a Arc<Inbox<u32>>, model: &mut Model, under_way: &mut Operations<'a>, step: Step) {
    match step {
        Step::TryPush(item) => try_push(inbox, model, under_way, item),
        Step::TryPushBatch(batch) => try_push_batch(inbox, model, batch),
        Step::TryRecv => match inbox.try_recv() {
            Ok(item) => model.read(item),
            Err(TryRecvError::Empty) => assert!(model.queue.is_empty() && !model.closed),
            Err(TryRecvError::Closed) => assert!(model.queue.is_empty() && model.closed),
        },
        Step::TryRecvBatch(limit) => {
            let mut got = Vec::new();
            let expected = model.queue.len().min(limit.max(1));
            assert_eq!(inbox.try_recv_batch(&mut got, limit).unwrap_or(0), expected);
            got.into_iter().for_each(|item| model.read(item));
        }
        Step::GiveBack => {
            if let Some(item) = model.given.pop() {
                inbox.push_front(item);
                model.queue.push_front(item);
            }
        }
        Step::Close => {
            assert_eq!(inbox.close(), !model.closed);
            model.closed = true;
        }
        Step::StartRecv => start(Operation::Recv(Task::new(inbox, inbox.recv())), model, under_way),
        Step::StartPush(item) => {
            start(Operation::Push(Task::new(inbox, inbox.push(item)), item), model, under_way);
        }
        Step::Poll(index) if !under_way.is_empty() => {
            let at = index.index(under_way.len());
            under_way[at].1 = under_way[at].0.wakes();
            if under_way[at].0.poll(model) {
                under_way.remove(at);
            }
        }
        Step::Cancel(index) if !under_way.is_empty() => {
            under_way.remove(index.index(under_way.len()));
        }
        Step::Poll(_) | Step::Cancel(_) => {}
        Step::Settle => settle(under_way, model),
    }
}

fn run(items: usize, bytes: usize, full: Full, steps: Vec<Step>) {
    let inbox = Arc::new(match bytes {
        usize::MAX => Inbox::new(items, full),
        _ => Inbox::with_bytes(items, bytes, |item: &u32| *item as usize, full),
    });
    let queue = VecDeque::new();
    let mut model = Model { queue, items, bytes, full, closed: false, given: Vec::new() };
    let mut under_way: Operations<'_> = Vec::new();
    for step in steps {
        take_step(&inbox, &mut model, &mut under_way, step);
        assert_eq!(inbox.len(), model.queue.len());
        if bytes < usize::MAX {
            assert_eq!(inbox.bytes() as u32, model.queue.iter().sum::<u32>());
        }
        let counters = inbox.counters();
        assert_eq!(
            counters.pushed + counters.given_back,
            counters.received + counters.evicted + inbox.len() as u64
        );
    }
    settle(&mut under_way, &mut model);
    inbox.close();
    model.closed = true;
    settle(&mut under_way, &mut model);
    assert!(under_way.is_empty(), "no task waits on a closed inbox");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn it_behaves_like_a_plain_bounded_queue(
        items in 1_usize..5,
        bytes in prop_oneof![Just(usize::MAX), 1_usize..12],
        full in prop_oneof![Just(Full::Wait), Just(Full::DropOldest), Just(Full::RefuseNewest)],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        run(items, bytes, full, steps);
    }
}
