//! A steady stream of small numbered messages from one host to another, and the losses and silences of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_std::task::{self, JoinHandle};
use rouse_core::{Address, Client, Outgoing};

/// The length of a message in bytes: a number and filling.
const LENGTH: usize = 64;

/// A running stream.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// The time of arrival and the number of each message.
    arrivals: Arc<Mutex<Vec<(Instant, u64)>>>,
    sender: JoinHandle<anyhow::Result<()>>,
    receiver: JoinHandle<()>,
}

/// The losses and silences of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Messages that were accepted for sending.
    pub sent: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Further arrivals of messages that had arrived.
    pub doubled: u64,
    /// The longest silence before the fault.
    pub before: Duration,
    /// The longest silence that ended after it.
    pub gap: Duration,
}

impl Stream {
    /// Begins to send `rate` messages a second.
    pub fn start(from: Client, to: Client, address: Address, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let sender = task::spawn(send(from, address, rate, stop.clone(), sent.clone()));
        let log = arrivals.clone();
        let receiver = task::spawn(async move {
            while let Ok(messages) = to.recv_batch(256).await {
                let now = Instant::now();
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                for message in messages {
                    if let Some(number) = message.body.first_chunk::<8>() {
                        log.push((now, u64::from_le_bytes(*number)));
                    }
                }
            }
        });
        Stream { stop, sent, arrivals, sender, receiver }
    }

    /// How many have come since `then`.
    pub fn come_since(&self, then: Instant) -> usize {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().rev().take_while(|(at, _)| *at > then).count()
    }

    /// Waits until so many have come since `then`.
    ///
    /// # Errors
    /// When they have not come after `patience`.
    pub fn wait_for(&self, then: Instant, many: usize, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while self.come_since(then) < many {
            anyhow::ensure!(Instant::now() < deadline, "no message comes through");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Stops sending, waits at most `patience` for the messages in transit, and returns the outcome.
    ///
    /// # Errors
    /// When the sender's daemon has gone.
    pub fn end(self, fault: Instant, patience: Duration) -> anyhow::Result<Outcome> {
        self.stop.store(true, SeqCst);
        task::block_on(self.sender)?;
        let sent = self.sent.load(SeqCst);
        let deadline = Instant::now() + patience;
        let outcome = loop {
            let outcome = {
                let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                judge(&arrivals, sent, fault)
            };
            if outcome.lost == 0 || Instant::now() > deadline {
                break outcome;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        task::block_on(self.receiver.cancel());
        Ok(outcome)
    }
}

async fn send(
    from: Client,
    to: Address,
    rate: u32,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut number = 0u64;
    while !stop.load(SeqCst) {
        let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let batch: Vec<Outgoing> = (number..due)
            .map(|number| {
                let mut body = [0x5a; LENGTH];
                body[..8].copy_from_slice(&number.to_le_bytes());
                Outgoing::new(to, &body)
            })
            .collect();
        if !batch.is_empty() {
            number = due;
            from.send_batch(batch).await?;
            sent.store(number, SeqCst);
        }
        task::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn judge(arrivals: &[(Instant, u64)], sent: u64, fault: Instant) -> Outcome {
    let mut times: HashMap<u64, u64> = HashMap::new();
    for (_, number) in arrivals {
        *times.entry(*number).or_default() += 1;
    }
    let (mut before, mut gap) = (Duration::ZERO, Duration::ZERO);
    for pair in arrivals.windows(2) {
        let silence = pair[1].0 - pair[0].0;
        let longest = if pair[1].0 > fault { &mut gap } else { &mut before };
        *longest = silence.max(*longest);
    }
    Outcome {
        sent,
        lost: sent - times.len() as u64,
        doubled: times.values().map(|times| times - 1).sum(),
        before,
        gap,
    }
}
