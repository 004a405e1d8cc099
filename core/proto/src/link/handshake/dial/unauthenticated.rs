//! Cookies and refusals: answers to an initiation that carry no proof of their sender.
//!
//! Each repeats the first bytes of the initiation's ephemeral key, so only a node that has seen the initiation can make
//! one. Such a node may still be an attacker on the path. Therefore neither answer ends a dial, and a cookie causes one
//! frame at most.

use crate::link::Path;
use crate::link::handshake::Handshakes;
use crate::link::handshake::pending::Dial;
use crate::link::handshake::session::DialError;
use crate::stats::DropCause;
use crate::wire::link::{Cookie, ECHO_LEN, Initiation, Refusal, split};

impl Handshakes {
    /// Repeats the initiation with the cookie that the responder requires while it is under load.
    pub(in crate::link::handshake) fn on_cookie(
        &mut self,
        path: Path,
        bytes: &[u8],
    ) -> Result<(), DropCause> {
        let (cookie, _) = split::<Cookie>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        let dial = self.dial_for_echo(path, cookie.receiver, cookie.echo)?;
        // A cookie is used once for each initiation, so that forged ones at most double the frames that are sent.
        if std::mem::replace(&mut dial.cookie_obeyed, true) {
            return Err(DropCause::HandshakeLimit);
        }
        let room = dial.initiation.get_mut(Initiation::COOKIE_AT..Initiation::LEN);
        for (to, from) in room.unwrap_or_default().iter_mut().zip(cookie.cookie) {
            *to = from;
        }
        let initiation = dial.initiation.clone();
        self.transmit(path, initiation);
        Ok(())
    }

    /// Keeps the reason of a refusal, which is reported if the dial fails.
    pub(in crate::link::handshake) fn on_refusal(
        &mut self,
        path: Path,
        bytes: &[u8],
    ) -> Result<(), DropCause> {
        let (refusal, _) = split::<Refusal>(bytes).map_err(|_| DropCause::MalformedFrame)?;
        let reason = match refusal.reason {
            Refusal::VERSION => DialError::Version,
            Refusal::MESH => DialError::WrongMesh,
            _ => return Err(DropCause::BadHandshake),
        };
        // The dial continues, because the refusal may be forged.
        self.dial_for_echo(path, refusal.receiver, refusal.echo)?.hint = Some(reason);
        Ok(())
    }

    /// The dial that such an answer belongs to, by its index and the repeated bytes of the ephemeral key.
    fn dial_for_echo(
        &mut self,
        path: Path,
        index: u32,
        echo: [u8; ECHO_LEN],
    ) -> Result<&mut Dial, DropCause> {
        self.dials
            .get_mut(&index)
            .filter(|dial| dial.path == path && dial.held.is_none())
            .filter(|dial| dial.initiation.get(Initiation::LEN..).is_some_and(|key| key.starts_with(&echo)))
            .ok_or(DropCause::UnknownSession)
    }
}
