//! The interfaces that beacons are sent on. Each has a schedule of its own, so that an interface that appears does not
//! restart the schedules of the others: a host with many containers would otherwise never be quiet.

use std::time::Instant;

use crate::discovery::interfaces::Interface;
use crate::discovery::schedule::BeaconSchedule;
use crate::mix::mix;

/// An interface that beacons are sent on.
#[derive(Debug)]
pub(crate) struct BeaconSender {
    pub(crate) interface: Interface,
    schedule: BeaconSchedule,
    /// The error of the last round, if a beacon of it could not be sent.
    failure: Option<String>,
    /// Whether a beacon of the last round could be sent.
    sends: bool,
}

/// All selected interfaces with their schedules.
#[derive(Debug)]
pub(crate) struct BeaconSenders {
    list: Vec<BeaconSender>,
    seed: u64,
}

impl BeaconSenders {
    /// No interfaces yet. `seed` makes the jitter of this node differ from that of other nodes.
    pub(crate) fn new(seed: u64) -> Self {
        BeaconSenders { list: Vec::new(), seed }
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.list.iter().map(|sender| &sender.interface)
    }

    /// Replaces the list of interfaces. An interface that was there before keeps its schedule, unless beacons can now
    /// be sent on it in a new way.
    pub(crate) fn update(&mut self, found: Vec<Interface>, now: Instant) {
        let mut before = std::mem::take(&mut self.list);
        self.list = found
            .into_iter()
            .map(|interface| {
                let known = before.iter().position(|sender| {
                    sender.interface.index == interface.index && sender.interface.name == interface.name
                });
                let Some(mut sender) = known.map(|at| before.swap_remove(at)) else {
                    let seed = self.seed ^ mix(interface.index.into());
                    let schedule = BeaconSchedule::new(now, seed);
                    return BeaconSender { interface, schedule, failure: None, sends: false };
                };
                if interface.has_more_than(&sender.interface) {
                    sender.schedule.restart(now);
                }
                sender.interface = interface;
                sender
            })
            .collect();
    }

    /// The time at which the next beacons are due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.running().map(|sender| sender.schedule.due()).min()
    }

    /// Sends the beacons that are due. `send` sends those of one interface and returns the number that could be sent
    /// and the last error.
    pub(crate) fn send_due(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&Interface) -> (u32, Option<String>),
    ) {
        let due = |sender: &&mut BeaconSender| sender.interface.running && sender.schedule.due() <= now;
        for sender in self.list.iter_mut().filter(due) {
            let (sent, failure) = send(&sender.interface);
            sender.schedule.sent(now, failure.is_none());
            (sender.sends, sender.failure) = (sent > 0, failure);
        }
    }

    /// Sends a beacon soon on the interface with this number, where a new sender was received.
    pub(crate) fn answer(&mut self, index: u32, now: Instant) {
        if let Some(sender) = self.list.iter_mut().find(|sender| sender.interface.index == index) {
            sender.schedule.answer(now);
        }
    }

    /// The name of an interface and its error, when no beacon could be sent on any. An error of some interfaces is not
    /// reported, because some kinds of interface never carry multicast.
    pub(crate) fn failure(&self) -> Option<(&str, &str)> {
        if self.running().any(|sender| sender.sends) {
            return None;
        }
        self.running().find_map(|sender| Some((sender.interface.name.as_str(), sender.failure.as_deref()?)))
    }

    fn running(&self) -> impl Iterator<Item = &BeaconSender> {
        self.list.iter().filter(|sender| sender.interface.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn interface(index: u32) -> Interface {
        Interface {
            index,
            name: format!("card{index}"),
            v4: vec![[192, 0, 2, 1].into()],
            v6: true,
            running: true,
            loopback: false,
            addressed: true,
        }
    }

    /// Lets half a minute pass from `now` on and returns the rounds of each interface. `host` lists the interfaces that
    /// there are in a given second.
    fn half_a_minute(
        senders: &mut BeaconSenders,
        now: Instant,
        host: impl Fn(u32) -> Vec<Interface>,
    ) -> BTreeMap<u32, u32> {
        let mut rounds = BTreeMap::new();
        for tick in 0..3000 {
            let now = now + Duration::from_millis(10) * tick;
            if tick % 100 == 0 {
                senders.update(host(tick / 100), now);
            }
            senders.send_due(now, |interface| {
                *rounds.entry(interface.index).or_default() += 1;
                (1, None)
            });
        }
        rounds
    }

    #[test]
    fn interfaces_that_come_and_go_leave_the_others_as_they_are() {
        let (mut senders, now) = (BeaconSenders::new(7), Instant::now());
        let steady = || (1..=25).map(interface).collect::<Vec<_>>();
        let calm = |_| steady();
        // The pauses grow to half a minute.
        for minute in 0..8 {
            half_a_minute(&mut senders, now + Duration::from_secs(30) * minute, calm);
        }
        let now = now + Duration::from_secs(240);
        let rounds = half_a_minute(&mut senders, now, |second| {
            let mut host = steady();
            host.push(interface(100 + second));
            host
        });
        assert!((1..=25).all(|index| rounds.get(&index).is_none_or(|rounds| *rounds <= 2)), "{rounds:?}");
        assert!(
            (100..130).all(|index| rounds[&index] >= 3),
            "a new interface begins with many rounds: {rounds:?}"
        );
    }

    #[test]
    fn an_interface_with_a_new_address_starts_over_and_one_that_is_down_is_silent() {
        let (mut senders, now) = (BeaconSenders::new(7), Instant::now());
        for minute in 0..8 {
            half_a_minute(&mut senders, now + Duration::from_secs(30) * minute, |_| vec![interface(1)]);
        }
        let now = now + Duration::from_secs(240);
        let more = Interface { v4: vec![[192, 0, 2, 1].into(), [10, 0, 0, 1].into()], ..interface(1) };
        let down = Interface { running: false, ..interface(2) };
        let rounds = half_a_minute(&mut senders, now, |_| vec![more.clone(), down.clone()]);
        assert!(rounds[&1] >= 5, "{rounds:?}");
        assert_eq!(rounds.get(&2), None);
        let rounds =
            half_a_minute(&mut senders, now + Duration::from_secs(30), |_| vec![more.clone(), interface(2)]);
        assert!(rounds[&2] >= 5, "{rounds:?}");
    }

    #[test]
    fn a_new_sender_is_answered_on_the_interface_where_it_was_received() {
        let (mut senders, now) = (BeaconSenders::new(7), Instant::now());
        let host = |_| vec![interface(1), interface(2)];
        for minute in 0..8 {
            half_a_minute(&mut senders, now + Duration::from_secs(30) * minute, host);
        }
        let now = now + Duration::from_secs(240);
        senders.answer(2, now);
        let due = senders.due().unwrap();
        assert!(due < now + Duration::from_millis(200), "{:?}", due - now);
        let mut sent = Vec::new();
        senders.send_due(due, |interface| {
            sent.push(interface.index);
            (1, None)
        });
        assert_eq!(sent, [2]);
    }

    #[test]
    fn a_failure_to_send_is_reported_only_where_no_interface_sends() {
        let (mut senders, now) = (BeaconSenders::new(7), Instant::now());
        senders.update(vec![interface(1), interface(2)], now);
        assert_eq!(senders.failure(), None);
        let no = |_: &Interface| (0, Some("no".to_owned()));
        senders.send_due(now, no);
        assert_eq!(senders.failure(), Some(("card1", "no")));
        senders.send_due(now + Duration::from_secs(1), |interface| match interface.index {
            1 => (1, None),
            _ => no(interface),
        });
        assert_eq!(senders.failure(), None);
    }
}
