//! The daemons of one run: started at once, and watched by a subscription to the events of each.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use async_std::task::{self, JoinHandle};
use futures::StreamExt;
use rouse_core::{Address, Client, Event, RouteState};
use rouse_tests::{Cables, Daemon, Programs};

use crate::route_monitor::RouteMonitor;

/// A daemon and the connection to it.
pub(crate) struct Member {
    pub daemon: Daemon,
    pub client: Client,
}

/// Daemons that run, and the monitor of their routes.
pub(crate) struct Mesh {
    pub members: Vec<Member>,
    pub monitor: Arc<Mutex<RouteMonitor>>,
    /// When the first was started, and when the last was ready.
    pub started: Instant,
    pub ready: Instant,
    watchers: Vec<JoinHandle<()>>,
}

impl Mesh {
    /// Starts a daemon on each host at once.
    pub(crate) fn start(programs: &Programs, cables: &Cables, logs: Option<&Path>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let daemons: Vec<Daemon> = std::thread::scope(|scope| {
            let start = |n: usize| {
                let builder = programs.daemon().with_defaults().namespace(cables.host(n));
                let builder = match logs {
                    Some(_) => builder.argument("--log").argument("debug"),
                    None => builder,
                };
                scope.spawn(move || builder.start())
            };
            let starting: Vec<_> = (0..cables.hosts()).map(start).collect();
            starting.into_iter().map(|one| one.join().expect("a daemon starts")).collect()
        });
        let ready = Instant::now();
        let addresses = daemons.iter().map(|one| one.address().parse::<Address>());
        let addresses = addresses.collect::<Result<Vec<_>, _>>().context("an address")?;
        let mut mesh = Mesh {
            members: Vec::new(),
            monitor: Arc::new(Mutex::new(RouteMonitor::new(addresses))),
            started,
            ready,
            watchers: Vec::new(),
        };
        for daemon in daemons {
            let client = task::block_on(Client::connect(daemon.socket()))?;
            mesh.members.push(Member { daemon, client });
        }
        for number in 0..mesh.members.len() {
            mesh.watch(number)?;
        }
        Ok(mesh)
    }

    /// Records the routes of daemon `number`, first those that it has already.
    fn watch(&mut self, number: usize) -> anyhow::Result<()> {
        let client = self.members[number].client.clone();
        let mut events = client.events();
        let monitor = self.monitor.clone();
        let note =
            move |to, next| monitor.lock().unwrap_or_else(PoisonError::into_inner).record(number, to, next);
        for route in task::block_on(client.routes())? {
            if route.state == RouteState::Active {
                note(route.destination, Some(route.next_hop));
            }
        }
        self.watchers.push(task::spawn(async move {
            while let Some((_, event)) = events.next().await {
                if let Event::RouteChanged { destination, next_hop, .. } = event {
                    note(destination, next_hop);
                }
            }
        }));
        Ok(())
    }

    /// Reads or changes the monitor.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&mut RouteMonitor) -> T) -> T {
        look(&mut self.monitor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes that all daemons but one have sent so far.
    pub(crate) fn sent_bytes(&self, except: Option<usize>) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (number, member) in self.members.iter().enumerate() {
            if Some(number) != except {
                let status = task::block_on(member.client.status())?;
                sum += status.netmods.iter().map(|netmod| netmod.tx_bytes).sum::<u64>();
            }
        }
        Ok(sum)
    }

    /// Ends the daemons, and keeps their logs in a folder if one is given.
    pub(crate) fn end(mut self, logs: Option<&Path>) -> anyhow::Result<()> {
        self.watchers.clear();
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(folder) = logs {
                std::fs::create_dir_all(folder)?;
                let log = member.daemon.process().complaints();
                std::fs::write(folder.join(format!("{number}.log")), log)?;
            }
        }
        Ok(())
    }
}
