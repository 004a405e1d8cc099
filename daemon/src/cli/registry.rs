//! `id`, `peer` and `name`, which manage what the daemon's registry holds.

use rouse_core::Client;
use rouse_core::ipc::Source;
use serde_json::json;

use super::address;
use super::args::{IdCommand, NameCommand, PeerCommand};
use super::failure::CommandFailure;
use super::output::Output;
use super::table::{Cell, Columns};

pub(super) async fn id(
    client: &Client,
    out: &Output,
    command: Option<IdCommand>,
) -> Result<(), CommandFailure> {
    match command {
        None => {
            let address = client.address();
            out.line(&address.to_string(), &json!({ "address": address }))
        }
        Some(IdCommand::New { label }) => {
            let made = client.new_identity(label).await?;
            out.line(&made.address.to_string(), &made)
        }
        Some(IdCommand::List) => {
            let all = client.identities().await?;
            let row = |one: &rouse_core::ipc::IdentityInfo| {
                [one.address.into(), one.label.clone().into(), one.owner_uid.to_string().into()]
            };
            let columns = Columns { titles: ["ADDRESS", "LABEL", "OWNER"], long: &["LABEL"] };
            out.line(&columns.table(out.width(), &all.iter().map(row).collect::<Vec<_>>()), &all)
        }
        Some(IdCommand::Remove { address }) => {
            let address = address::resolve_own(client, &address).await?;
            client.remove_identity(&address).await?;
            out.json(&json!({ "removed": address }))
        }
    }
}

fn source(source: Source) -> Cell {
    match source {
        Source::Config => "config".into(),
        Source::State => "state".into(),
    }
}

pub(super) async fn peer(client: &Client, out: &Output, command: PeerCommand) -> Result<(), CommandFailure> {
    match command {
        PeerCommand::Add { uri } => {
            client.add_peer(&uri).await?;
            out.json(&json!({ "added": uri }))
        }
        PeerCommand::Remove { uri } => {
            let link = client.remove_peer(&uri).await?;
            out.line(&link, &json!({ "removed": uri, "link": link }))
        }
        PeerCommand::List => {
            let all = client.peer_list().await?;
            let row = |one: &rouse_core::ipc::PeerInfo| {
                [one.uri.clone().into(), super::show::peer_state(one.state).into(), source(one.source)]
            };
            let columns = Columns { titles: ["URI", "STATE", "SOURCE"], long: &[] };
            if all.is_empty() {
                out.notice("no configured peers; add one with `rouse peer add udp:HOST:PORT`");
            }
            out.line(&columns.table(out.width(), &all.iter().map(row).collect::<Vec<_>>()), &all)
        }
    }
}

pub(super) async fn name(client: &Client, out: &Output, command: NameCommand) -> Result<(), CommandFailure> {
    match command {
        NameCommand::Add { name, address } => {
            let address = address::resolve_address(client, &address).await?;
            client.add_name(&name, &address).await?;
            out.json(&json!({ "added": name, "address": address }))
        }
        NameCommand::Remove { name } => {
            client.remove_name(&name).await?;
            out.json(&json!({ "removed": name }))
        }
        NameCommand::List => {
            let all = client.names().await?;
            let row = |one: &rouse_core::ipc::NameInfo| {
                [one.name.clone().into(), one.address.into(), source(one.source)]
            };
            let columns = Columns { titles: ["NAME", "ADDRESS", "SOURCE"], long: &[] };
            if all.is_empty() {
                out.notice("no names; add one with `rouse name add NAME ADDR`");
            }
            out.line(&columns.table(out.width(), &all.iter().map(row).collect::<Vec<_>>()), &all)
        }
    }
}
