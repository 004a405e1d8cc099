//! One run: cables, daemons, their start, a rest, the fault, and what came of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rouse_tests::{Cables, Programs, Stream, Topology, usage};

use crate::figures::Figures;
use crate::mesh::Mesh;
use crate::options::{Fault, Options, PATIENCE};
use crate::route_monitor::Failed;

/// The pause between two looks at the monitor. It does not limit the precision, since the monitor keeps the times.
const LOOK: Duration = Duration::from_millis(2);
/// The time for which the stream flows before the fault.
pub(crate) const WARM: Duration = Duration::from_secs(1);
/// The approximate length in bytes of a packet with one message.
pub(crate) const PACKET: usize = 200;
/// A mesh in which every pair has had a path for so long has healed.
const STEADY: Duration = Duration::from_millis(1500);

/// Run number `number`.
pub(crate) fn run(programs: &Programs, options: &Options, number: usize) -> anyhow::Result<Figures> {
    let cables = Cables::new(options.topology);
    let mesh = Mesh::start(programs, &cables, options.logs.as_deref())?;
    let mut figures = Figures::default();
    let complete = until_complete(&mesh, Duration::ZERO)?;
    figures.start = Some(complete.saturating_duration_since(mesh.started));
    figures.from_ready = Some(complete.saturating_duration_since(mesh.ready));
    rest(&mesh, options, &mut figures)?;
    let (from, to) = pair(options, number);
    if options.fault == Fault::None {
        if options.rate > 0 {
            let stream = stream(&mesh, from, to, options.rate);
            sleep(WARM * 3);
            figures.stream = Some(stream.end(Instant::now(), PATIENCE)?);
        }
    } else {
        fail(&mesh, &cables, options, (from, to, number), &mut figures)?;
    }
    mesh.end(options.logs.as_deref())?;
    Ok(figures)
}

/// Waits until every pair has had a path for the time `steady`; returns the time since when.
fn until_complete(mesh: &Mesh, steady: Duration) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(since) = mesh.read(|monitor| monitor.complete_since())
            && since.elapsed() >= steady
        {
            return Ok(since);
        }
        if Instant::now() > deadline {
            bail!("no path between {:?}", mesh.read(|monitor| monitor.missing()));
        }
        sleep(LOOK);
    }
}

/// The use of traffic, processor and memory by the daemons at rest.
fn rest(mesh: &Mesh, options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    // The first seconds are full of beacons and first measurements.
    sleep(Duration::from_secs(3));
    let used = |mesh: &Mesh| mesh.members.iter().map(|one| usage(one.daemon.pid())).collect::<Vec<_>>();
    let (bytes, before, begin) = (mesh.sent_bytes(None)?, used(mesh), Instant::now());
    sleep(Duration::from_secs(options.rest));
    let (after, seconds) = (used(mesh), begin.elapsed().as_secs_f64());
    let nodes = mesh.members.len() as f64;
    let cpu: f64 = after.iter().zip(&before).map(|(a, b)| (a.cpu - b.cpu).as_secs_f64()).sum();
    figures.rest_bytes = (mesh.sent_bytes(None)? - bytes) as f64 / nodes / seconds;
    figures.rest_cpu = cpu / nodes / seconds;
    figures.rss = after.iter().map(|usage| usage.rss).max().unwrap_or(0);
    Ok(())
}

/// The sender and the receiver: pairs at all distances in turn, and far enough apart for a relay where one is killed.
pub(crate) fn pair(options: &Options, number: usize) -> (usize, usize) {
    let hosts = options.topology.hosts();
    let least = if options.fault == Fault::Kill { 2 } else { 1 };
    match options.topology {
        Topology::Line(_) => (0, hosts - 1),
        Topology::Ring(_) => {
            let from = number % hosts;
            let distances = hosts / 2 + 1 - least.min(hosts / 2);
            (from, (from + least + number % distances) % hosts)
        }
        Topology::Grid(_) => match number % 2 {
            0 => (0, hosts - 1),
            _ => (hosts / 2, hosts / 2 - 1),
        },
    }
}

/// The position on the path of the relay that fails, or of the host before the cable that fails. It changes from run to run.
pub(crate) fn which(fault: Fault, path: &[usize], number: usize) -> anyhow::Result<usize> {
    let (first, ends) = if fault == Fault::Kill { (1, 2) } else { (0, 1) };
    let among = path.len().checked_sub(ends).filter(|among| *among > 0);
    Ok(first + number % among.with_context(|| format!("no relay on the path {path:?}"))?)
}

fn stream(mesh: &Mesh, from: usize, to: usize, rate: u32) -> Stream {
    let (sender, receiver) = (mesh.members[from].client.clone(), mesh.members[to].client.clone());
    Stream::start(sender, receiver, mesh.read(|monitor| monitor.address(to)), rate)
}

fn fail(
    mesh: &Mesh,
    cables: &Cables,
    options: &Options,
    (from, to, number): (usize, usize, usize),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let stream = (options.rate > 0).then(|| stream(mesh, from, to, options.rate));
    sleep(WARM);
    let path = mesh.read(|monitor| monitor.path(from, to)).context("the two have a path")?;
    let at = which(options.fault, &path, number)?;
    let (failed, dead) = match options.fault.cut() {
        Some(_) => (Failed::Cable(path[at], path[at + 1]), None),
        None => (Failed::Host(path[at]), Some(path[at])),
    };
    let bytes = mesh.sent_bytes(dead)?;
    let fault = Instant::now();
    match (failed, options.fault.cut()) {
        (Failed::Cable(one, other), Some(cut)) => {
            let cable = cables.between(one, other).context("neighbours have a cable")?;
            cables.cut(cable, cut);
        }
        (Failed::Host(host), _) => kill(mesh.members[host].daemon.pid())?,
        (Failed::Cable(..), None) => bail!("a cable that does not fail"),
    }
    let cut = Instant::now();
    figures.took = Some(cut - fault);
    mesh.read(|monitor| monitor.fail(failed));
    if options.topology.survives() {
        figures.routes = Some(until_complete(mesh, STEADY)?.saturating_duration_since(fault));
    }
    figures.fault_bytes = (mesh.sent_bytes(dead)? - bytes) as f64 / mesh.members.len() as f64;
    if let Some(stream) = stream {
        // Messages in transit during the fault may arrive late, so the wait begins here: each message of it was sent later.
        stream.wait_for(Instant::now(), options.rate as usize / 4, PATIENCE)?;
        let stream = stream.end(fault, PATIENCE)?;
        (figures.silence, figures.stream) = (Some(stream.gap), Some(stream));
    }
    Ok(())
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid =
        i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("a process has a number")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    Ok(())
}
