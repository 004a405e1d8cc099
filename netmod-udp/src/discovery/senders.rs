//! The interfaces that beacons go out on, each with a schedule of its own: one that is new begins anew alone, however many
//! come and go beside it.

use std::time::Instant;

use crate::discovery::interfaces::Interface;
use crate::discovery::schedule::BeaconSchedule;
use crate::mix::mix;

/// One interface.
#[derive(Debug)]
pub(crate) struct BeaconSender {
    pub(crate) interface: Interface,
    schedule: BeaconSchedule,
    /// Why beacons of the last round could not leave, if some could not, and whether any could.
    failure: Option<String>,
    heard: bool,
}

/// All interfaces that were chosen.
#[derive(Debug)]
pub(crate) struct BeaconSenders {
    list: Vec<BeaconSender>,
    seed: u64,
}

impl BeaconSenders {
    /// None yet. `seed` makes the pauses of this node differ from those of others.
    pub(crate) fn new(seed: u64) -> Self {
        BeaconSenders { list: Vec::new(), seed }
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.list.iter().map(|sender| &sender.interface)
    }

    /// The interfaces are these now. What has not changed keeps its schedule.
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
                    return BeaconSender { interface, schedule, failure: None, heard: false };
                };
                if interface.has_more_than(&sender.interface) {
                    sender.schedule.restart(now);
                }
                sender.interface = interface;
                sender
            })
            .collect();
    }

    /// When the next beacons are due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.running().map(|sender| sender.schedule.due()).min()
    }

    /// Sends what is due. `send` sends one interface's beacons: how many could leave, and the last error.
    pub(crate) fn send_due(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&Interface) -> (u32, Option<String>),
    ) {
        let due = |sender: &&mut BeaconSender| sender.interface.running && sender.schedule.due() <= now;
        for sender in self.list.iter_mut().filter(due) {
            let (sent, failure) = send(&sender.interface);
            sender.schedule.sent(now, failure.is_none());
            (sender.heard, sender.failure) = (sent > 0, failure);
        }
    }

    /// A sender that is new was heard on the interface with this number: it wants to hear of this node.
    pub(crate) fn answer(&mut self, index: u32, now: Instant) {
        if let Some(sender) = self.list.iter_mut().find(|sender| sender.interface.index == index) {
            sender.schedule.answer(now);
        }
    }

    /// Why no beacon could leave anywhere, with the name of an interface. Some interfaces never carry multicast; that is no
    /// news as long as others do.
    pub(crate) fn failure(&self) -> Option<(&str, &str)> {
        if self.running().any(|sender| sender.heard) {
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

    /// Lets half a minute pass from `now` on; `host` says which interfaces there are in each second. How many rounds each sent.
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
        // They settle to a round each half a minute.
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
        assert!((100..130).all(|index| rounds[&index] >= 3), "what is new begins with many: {rounds:?}");
    }

    #[test]
    fn an_interface_with_another_address_begins_anew_and_one_that_is_down_is_silent() {
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
    fn a_new_sender_is_answered_where_it_was_heard() {
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
    fn that_no_beacon_can_leave_is_news_only_if_none_can() {
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
