//! The folder that holds all that outlives a node.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rouse_journal::{FolderDisk, JournalError, JournalLimits, StoredJournal};

use super::{Node, NodeBuilder};
use crate::identity::{Identity, IdentityError};

/// The reason for which the folder of a node could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be created, read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another node uses the folder, in this process or another.
    #[error("{path} is in use by another node: stop that node first", path = .0.display())]
    InUse(
        /// The folder.
        PathBuf,
    ),
    /// The identity cannot be loaded or saved.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The journal cannot be opened.
    #[error("the journal in {path}: {source}", path = path.display())]
    Journal {
        /// The folder of the journal.
        path: PathBuf,
        /// The error of the journal.
        source: JournalError,
    },
}

impl Node {
    /// Begins to set up a node that keeps everything in `folder`: its identity, the count of its starts, and the journal of the
    /// messages that wait. So a node that is started there again has the same address and goes on with its messages. The folder
    /// is made when there is none (mode 0700), and one node uses it at a time, until its [`Node::stop`] has returned. The files are those of the daemon's state
    /// directory.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// ```
    /// use rouse_core::Node;
    /// use rouse_core::netmod::mem::MemNet;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # futures::executor::block_on(async {
    /// # let home = tempfile::tempdir()?;
    /// # let folder = home.path().join("node");
    /// let net = MemNet::new(7);
    /// let node = Node::open(&folder).await?.netmod(net.netmod("here")).start().await?;
    /// let address = node.address();
    /// node.stop().await;
    /// drop(node);
    ///
    /// let again = Node::open(&folder).await?.netmod(net.netmod("here")).start().await?;
    /// assert_eq!(again.address(), address);
    /// # again.stop().await;
    /// # Ok(()) })
    /// # }
    /// ```
    pub async fn open(folder: impl AsRef<Path>) -> Result<NodeBuilder, OpenError> {
        let folder = folder.as_ref();
        let path = folder.join("journal");
        let io = |source| OpenError::Io { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io)?;
        // This comes before anything is written, because the lock of the journal is that of the whole folder.
        let disk = FolderDisk::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::ResourceBusy => OpenError::InUse(folder.to_owned()),
            _ => io(source),
        })?;
        // Only now is it certain that no other node creates the identity at the same time, since both would have another address.
        let identity = Identity::load_or_create(&folder.join("identity"))?;
        let journal = StoredJournal::open(disk, JournalLimits::default()).await;
        let journal = journal.map_err(|source| OpenError::Journal { path: path.clone(), source })?;
        // All three belong together: messages in the journal are sealed for peers in the name of this identity, and its epoch has
        // to grow with each start, because routers prefer the later one.
        Ok(Node::builder().identity(identity).epoch_file(folder.join("epoch")).journal(Arc::new(journal)))
    }
}
