//! One run: cables, daemons, their start, a rest, the fault, and what came of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rouse_tests::{Cables, Programs, Stream, Topology, usage};

use crate::figures::Figures;
use crate::mesh::Mesh;
use crate::options::{Fault, Options, PATIENCE};
use crate::route_monitor::Broken;

/// The pause between two looks into the book. What is measured are the times in it.
const LOOK: Duration = Duration::from_millis(2);
/// How long the stream flows before the fault.
pub const WARM: Duration = Duration::from_secs(1);
/// About how long a packet with one of its messages is.
pub const PACKET: usize = 200;
/// A mesh that was whole for so long has healed.
const STEADY: Duration = Duration::from_millis(1500);

/// Run number `number`.
pub fn run(programs: &Programs, options: &Options, number: usize) -> anyhow::Result<Figures> {
    let cables = Cables::new(options.topology);
    let mesh = Mesh::start(programs, &cables, options.logs.as_deref())?;
    let mut figures = Figures::default();
    let whole = whole(&mesh, Duration::ZERO)?;
    figures.start = Some(whole.saturating_duration_since(mesh.started));
    figures.from_ready = Some(whole.saturating_duration_since(mesh.ready));
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

/// Waits until every pair has had a way for so long; since when.
fn whole(mesh: &Mesh, steady: Duration) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(since) = mesh.read(|book| book.whole_since())
            && since.elapsed() >= steady
        {
            return Ok(since);
        }
        if Instant::now() > deadline {
            bail!("no way between {:?}", mesh.read(|book| book.missing()));
        }
        sleep(LOOK);
    }
}

/// What the daemons use while nobody has anything to say.
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

/// Who sends to whom: pairs at all distances in turn, and far enough apart for a relay where one is to be killed.
pub fn pair(options: &Options, number: usize) -> (usize, usize) {
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

/// Which relay on the way fails, or the cable from which host on; it changes from run to run.
pub fn which(fault: Fault, way: &[usize], number: usize) -> anyhow::Result<usize> {
    let (first, ends) = if fault == Fault::Kill { (1, 2) } else { (0, 1) };
    let among = way.len().checked_sub(ends).filter(|among| *among > 0);
    Ok(first + number % among.with_context(|| format!("no relay on the way {way:?}"))?)
}

fn stream(mesh: &Mesh, from: usize, to: usize, rate: u32) -> Stream {
    let (sender, receiver) = (mesh.members[from].client.clone(), mesh.members[to].client.clone());
    Stream::start(sender, receiver, mesh.read(|book| book.address(to)), rate)
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
    let way = mesh.read(|book| book.way(from, to)).context("the two have a way")?;
    let at = which(options.fault, &way, number)?;
    let (broken, dead) = match options.fault.cut() {
        Some(_) => (Broken::Cable(way[at], way[at + 1]), None),
        None => (Broken::Host(way[at]), Some(way[at])),
    };
    let bytes = mesh.sent_bytes(dead)?;
    let fault = Instant::now();
    match (broken, options.fault.cut()) {
        (Broken::Cable(one, other), Some(cut)) => {
            let cable = cables.between(one, other).context("neighbours have a cable")?;
            cables.cut(cable, cut);
        }
        (Broken::Host(host), _) => kill(mesh.members[host].daemon.pid())?,
        (Broken::Cable(..), None) => bail!("a cable that does not fail"),
    }
    let cut = Instant::now();
    figures.took = Some(cut - fault);
    mesh.read(|book| book.broke(broken));
    if options.topology.survives() {
        figures.routes = Some(whole(mesh, STEADY)?.saturating_duration_since(fault));
    }
    figures.fault_bytes = (mesh.sent_bytes(dead)? - bytes) as f64 / mesh.members.len() as f64;
    if let Some(stream) = stream {
        // What was on its way when it happened may come late: all that comes from here on was sent after it.
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
