//! Small programs that use rouse, one for each file in `src/bin`. The first lines of each describe its purpose and the
//! one command that starts it.
//!
//! | Program | Subject |
//! |---|---|
//! | `client` | sending and receiving through the daemon |
//! | `chat` | a chat between terminals that find each other |
//! | `request` | a service, and requests to it |
//! | `embed` | a node inside an async-std application |
//! | `embed_tokio` | the same inside a tokio application |
//! | `custom_netmod` | a custom network module: Unix datagram sockets |
