//! `probe`: the stages between this node and a message in the hands of an application of the peer. Each is checked in
//! order, and the first that fails is reported with the next step.

use std::time::Duration;

use rouse_core::ipc::ClientError;
use rouse_core::{Address, Client, Outgoing, Peer, PeerState, PingError, Route, RouteState, SendError};
use serde::Serialize;

use super::address;
use super::args::Probe;
use super::failure::CommandFailure;
use super::output::{Colour, Output};
use super::show::peer_state;
use crate::text::{self, INDENT};
use crate::units::{counted, milliseconds};

/// A stage that was passed: its name and the finding.
#[derive(Clone, Debug)]
struct Passed {
    stage: &'static str,
    text: String,
}

/// The stage that failed, with the next step for the user.
#[derive(Clone, Debug)]
struct Failed {
    stage: &'static str,
    text: String,
    hint: String,
}

impl Failed {
    fn new(stage: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Failed { stage, text: text.into(), hint: hint.into() }
    }
}

/// A stage as programs get it.
#[derive(Clone, Debug, Serialize)]
struct StageLine {
    stage: &'static str,
    ok: bool,
    text: String,
    hint: Option<String>,
}

/// The stages that were passed and the one that failed, as programs get them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProbeReport {
    peer: String,
    address: Option<Address>,
    ok: bool,
    stages: Vec<StageLine>,
}

/// The end of a probe.
struct Probed {
    address: Option<Address>,
    failed: Option<Failed>,
    /// The failure of a wrong name or address, whose exit code is that of wrong usage in each command.
    misnamed: Option<CommandFailure>,
}

/// The state of a probe: the stages that were passed so far.
struct Stages<'a> {
    client: &'a Client,
    /// The place where the stages are shown as they are passed.
    out: Option<&'a Output>,
    passed: Vec<Passed>,
}

impl Stages<'_> {
    fn pass(&mut self, stage: &'static str, text: impl Into<String>) -> Result<(), CommandFailure> {
        let passed = Passed { stage, text: text.into() };
        if let Some(out) = self.out {
            show(out, "ok", Colour::Green, stage, &passed.text)?;
        }
        self.passed.push(passed);
        Ok(())
    }

    fn address(&self, address: &Address) -> String {
        self.out.map_or_else(|| address.to_string(), |out| out.address(address))
    }

    fn report(&self, peer: &str, probed: &Probed) -> ProbeReport {
        let passed = self.passed.iter().map(|passed| StageLine {
            stage: passed.stage,
            ok: true,
            text: passed.text.clone(),
            hint: None,
        });
        let failed = probed.failed.iter().map(|failed| StageLine {
            stage: failed.stage,
            ok: false,
            text: failed.text.clone(),
            hint: Some(failed.hint.clone()),
        });
        ProbeReport {
            peer: peer.to_owned(),
            address: probed.address,
            ok: probed.failed.is_none(),
            stages: passed.chain(failed).collect(),
        }
    }
}

/// A line of the form `ok    route    over rouse1…`, for users.
fn show(out: &Output, word: &str, colour: Colour, stage: &str, text: &str) -> Result<(), CommandFailure> {
    if out.is_json() {
        return Ok(());
    }
    let line = out.safe_line(&format!("{word:<6}  {stage:<7}  {text}"));
    out.line(&line.replacen(word, &out.paint(word, colour), 1), &())
}

pub(super) async fn probe(client: &Client, out: &Output, probe: Probe) -> Result<(), CommandFailure> {
    let mut stages = Stages { client, out: Some(out), passed: Vec::new() };
    let probed = stages.run(&probe.peer, probe.deliver, probe.timeout).await?;
    if out.is_json() {
        out.json(&stages.report(&probe.peer, &probed))?;
    }
    let Some(failed) = probed.failed else { return Ok(()) };
    if !out.is_json() {
        show(out, "failed", Colour::Red, failed.stage, &failed.text)?;
        let hint = text::one_line(&failed.hint).into_owned();
        let hint = out.width().map_or(hint.clone(), |width| text::paragraph(&hint, INDENT, width));
        out.line(&format!("{:INDENT$}{hint}", ""), &())?;
    }
    if let Some(failure) = probed.misnamed {
        return Err(failure.silent());
    }
    if !out.is_json() {
        return Err(CommandFailure::no("unreachable", format!("the stage {} fails", failed.stage), ""));
    }
    let text = format!("the stage {} fails: {}", failed.stage, failed.text);
    Err(CommandFailure::no("unreachable", text, failed.hint))
}

/// Probes a peer for a program.
pub(crate) async fn report(
    client: &Client,
    peer: &str,
    deliver: bool,
    timeout: Duration,
) -> Result<ProbeReport, CommandFailure> {
    let mut stages = Stages { client, out: None, passed: Vec::new() };
    let probed = stages.run(peer, deliver, timeout).await?;
    Ok(stages.report(peer, &probed))
}

impl Stages<'_> {
    async fn run(&mut self, peer: &str, deliver: bool, timeout: Duration) -> Result<Probed, CommandFailure> {
        let address = match address::resolve(self.client, peer).await {
            Ok(address) => address,
            Err(failure) => {
                let failed = Failed::new("name", failure.message(), failure.hint());
                return Ok(Probed { address: None, failed: Some(failed), misnamed: Some(failure) });
            }
        };
        let is_name = !address::looks_like_address(peer);
        let name =
            if is_name { format!("{peer} stands for an address") } else { "an address was given".to_owned() };
        self.pass("name", name)?;
        self.pass("address", self.address(&address))?;
        let failed = self.remote(&address, deliver, timeout).await?;
        Ok(Probed { address: Some(address), failed, misnamed: None })
    }

    /// The stages after the address. Returns the one that failed.
    async fn remote(
        &mut self,
        address: &Address,
        deliver: bool,
        timeout: Duration,
    ) -> Result<Option<Failed>, CommandFailure> {
        let own = self.client.identities().await?.iter().any(|identity| identity.address == *address);
        if own {
            self.pass("route", "it is an address of this node")?;
        } else {
            let route = match self.route(address).await? {
                Ok(route) => route,
                Err(failed) => return Ok(Some(failed)),
            };
            let link = self.link(&route).await?;
            let reply = match link {
                Ok(()) => self.reply(address, timeout).await?,
                Err(failed) => Err(failed),
            };
            if let Err(failed) = reply {
                return Ok(Some(failed));
            }
        }
        Ok(if deliver { self.inbox(address, timeout).await?.err() } else { None })
    }

    async fn route(&mut self, address: &Address) -> Result<Result<Route, Failed>, CommandFailure> {
        let routes = self.client.routes_to(*address).await?;
        if let Some(route) = routes.iter().find(|route| route.state == RouteState::Active) {
            let over = self.address(&route.next_hop);
            self.pass(
                "route",
                format!("over {over}, {}, metric {}", counted(route.hops.into(), "hop"), route.metric),
            )?;
            return Ok(Ok(route.clone()));
        }
        if !routes.is_empty() {
            let text = "it was announced, and no neighbour offers a usable route to it now";
            let hint =
                "it returns by itself when a neighbour reaches the peer again; `rouse watch` shows when";
            return Ok(Err(Failed::new("route", text, hint)));
        }
        let alone = self.client.peers().await?.iter().all(|peer| peer.state != PeerState::Up);
        Ok(Err(if alone {
            Failed::new(
                "route",
                "this node has no neighbours",
                "start a node on this network, or dial one with `rouse peer add udp:HOST:PORT`; `rouse doctor` checks this host",
            )
        } else {
            Failed::new(
                "route",
                "no neighbour announces the address",
                "check with `rouse status` there that its node runs and has neighbours, and that both meshes have the same key",
            )
        }))
    }

    async fn link(&mut self, route: &Route) -> Result<Result<(), Failed>, CommandFailure> {
        let peers = self.client.peers().await?;
        let Some(peer) = peers.iter().find(|peer| peer.address == Some(route.next_hop)) else {
            return Ok(Err(Failed::new("link", "the next hop was lost just now", "try again")));
        };
        let Peer { endpoint, rtt_ms, loss, state, .. } = peer;
        if *state != PeerState::Up {
            let error = peer.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            let text = format!("the link to {endpoint} is {}{error}", peer_state(*state));
            return Ok(Err(Failed::new("link", text, "check the cable or network on the way to it")));
        }
        let rtt = rtt_ms.map(|rtt| format!(", {rtt:.2} ms")).unwrap_or_default();
        let loss = loss.map(|loss| format!(", {:.0} % lost", loss * 100.0)).unwrap_or_default();
        self.pass("link", format!("{endpoint}{rtt}{loss}"))?;
        Ok(Ok(()))
    }

    async fn reply(
        &mut self,
        address: &Address,
        timeout: Duration,
    ) -> Result<Result<(), Failed>, CommandFailure> {
        match self.client.ping(address, timeout).await {
            Ok(pong) => {
                let rtt = milliseconds(pong.rtt_us);
                self.pass("reply", format!("its node replies in {rtt:.2} ms"))?;
                Ok(Ok(()))
            }
            Err(ClientError::Ping(error)) => {
                let text = match error {
                    PingError::NoRoute(_) => "the route was lost just now".to_owned(),
                    error => format!("its node does not reply: {error}"),
                };
                let hint = "`rouse trace` shows the last node on the way that replies";
                Ok(Err(Failed::new("reply", text, hint)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Delivers an empty message, which expires with the wait for it.
    async fn inbox(
        &mut self,
        address: &Address,
        timeout: Duration,
    ) -> Result<Result<(), Failed>, CommandFailure> {
        let message = Outgoing::new(*address, Vec::new()).ttl(timeout).volatile();
        let receipt = match self.client.submit(message).await {
            Ok(sent) => sent.delivered().await,
            Err(error) => Err(error),
        };
        match receipt {
            Ok(receipt) => {
                let after = milliseconds(receipt.elapsed_us);
                self.pass(
                    "inbox",
                    format!("an application there received an empty message after {after:.2} ms"),
                )?;
                Ok(Ok(()))
            }
            Err(ClientError::Send(SendError::Expired(_) | SendError::Unknown(_))) => Ok(Err(Failed::new(
                "inbox",
                "no application there has received an empty message in time",
                "run `rouse recv --follow` there, or start the application that reads its messages",
            ))),
            Err(error) => Err(error.into()),
        }
    }
}
