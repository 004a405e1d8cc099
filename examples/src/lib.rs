//! Small programs that use rouse, one a file, in `src/bin`. Each says in its first lines what it shows and the one
//! command that starts it.
//!
//! | Program | Shows |
//! |---|---|
//! | `client` | sending and receiving through the daemon |
//! | `chat` | a chat between terminals that find each other |
//! | `embed` | a node inside an async-std application |
//! | `embed_tokio` | the same inside a tokio application |
//! | `custom_netmod` | a network module of one's own: Unix datagram sockets |
