//! `probe`: the stages between this node and a message in the hands of an application of the peer. Each is checked in
//! order, and the first that fails is reported with the next step.

use std::time::Duration;

use rouse_core::ipc::ClientError;
use rouse_core::{Address, Client, Outgoing, Peer, PeerState, PingError, Route, RouteState, SendError};
use serde::Serialize;
use serde_json::json;

use super::address;
use super::args::Probe;
use super::failure::CommandFailure;
use super::output::{Colour, Output};
use super::show::peer_state;
use crate::text::{self, INDENT};
use crate::units::{counted, milliseconds};

/// A stage that was passed: its name and the finding.
#[derive(Clone, Debug, Serialize)]
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

/// The state of a probe: the stages that were passed so far.
struct Stages<'a> {
    client: &'a Client,
    out: &'a Output,
    passed: Vec<Passed>,
}

impl Stages<'_> {
    fn pass(&mut self, stage: &'static str, text: impl Into<String>) -> Result<(), CommandFailure> {
        let passed = Passed { stage, text: text.into() };
        if !self.out.is_json() {
            self.show("ok", Colour::Green, stage, &passed.text)?;
        }
        self.passed.push(passed);
        Ok(())
    }

    /// A line of the form `ok    route    over rouse1…`.
    fn show(&self, word: &str, colour: Colour, stage: &str, text: &str) -> Result<(), CommandFailure> {
        let line = self.out.safe_line(&format!("{word:<6}  {stage:<7}  {text}"));
        self.out.line(&line.replacen(word, &self.out.paint(word, colour), 1), &())
    }

    /// Reports the end: all stages were passed, or one failed.
    fn end(self, peer: &str, address: Option<Address>, failed: Option<Failed>) -> Result<(), CommandFailure> {
        let out = self.out;
        if out.is_json() {
            let one = |stage: &str, ok: bool, text: &str, hint: Option<&str>| json!({ "stage": stage, "ok": ok, "text": text, "hint": hint });
            let mut stages: Vec<_> =
                self.passed.iter().map(|passed| one(passed.stage, true, &passed.text, None)).collect();
            stages.extend(
                failed.iter().map(|failed| one(failed.stage, false, &failed.text, Some(&failed.hint))),
            );
            let ok = failed.is_none();
            out.json(&json!({ "peer": peer, "address": address, "ok": ok, "stages": stages }))?;
        }
        let Some(failed) = failed else { return Ok(()) };
        if !out.is_json() {
            self.show("failed", Colour::Red, failed.stage, &failed.text)?;
            let hint = text::one_line(&failed.hint).into_owned();
            let hint = out.width().map_or(hint.clone(), |width| text::paragraph(&hint, INDENT, width));
            out.line(&format!("{:INDENT$}{hint}", ""), &())?;
        }
        if !out.is_json() {
            return Err(CommandFailure::no("unreachable", format!("the stage {} fails", failed.stage), ""));
        }
        let text = format!("the stage {} fails: {}", failed.stage, failed.text);
        Err(CommandFailure::no("unreachable", text, failed.hint))
    }
}

pub(super) async fn probe(client: &Client, out: &Output, probe: Probe) -> Result<(), CommandFailure> {
    let mut stages = Stages { client, out, passed: Vec::new() };
    let address = match address::resolve(client, &probe.peer).await {
        Ok(address) => address,
        Err(failure) => {
            let failed = Failed::new("name", failure.message(), failure.hint());
            // The exit code of a wrong name is that of wrong usage in each command.
            let _ = stages.end(&probe.peer, None, Some(failed));
            return Err(failure.silent());
        }
    };
    let is_name = !address::looks_like_address(&probe.peer);
    let name = if is_name {
        format!("{} stands for an address", probe.peer)
    } else {
        "an address was given".to_owned()
    };
    stages.pass("name", name)?;
    stages.pass("address", out.address(&address))?;
    let failed = stages.remote(&address, &probe).await?;
    stages.end(&probe.peer, Some(address), failed)
}

impl Stages<'_> {
    /// The stages after the address. Returns the one that failed.
    async fn remote(&mut self, address: &Address, probe: &Probe) -> Result<Option<Failed>, CommandFailure> {
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
                Ok(()) => self.reply(address, probe.timeout).await?,
                Err(failed) => Err(failed),
            };
            if let Err(failed) = reply {
                return Ok(Some(failed));
            }
        }
        Ok(if probe.deliver { self.inbox(address, probe.timeout).await?.err() } else { None })
    }

    async fn route(&mut self, address: &Address) -> Result<Result<Route, Failed>, CommandFailure> {
        let routes = self.client.routes_to(*address).await?;
        if let Some(route) = routes.iter().find(|route| route.state == RouteState::Active) {
            let over = self.out.address(&route.next_hop);
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
        let message = Outgoing::new(*address, Vec::new()).ttl(timeout);
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
