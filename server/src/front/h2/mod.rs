//! HTTP/2 on the client port.
//!
//! A connection is one task. The unary calls in its [`Table`] are served within it: their requests
//! wait in a slab for the node, whose replies of one round are written together. Every other
//! request gets a task of its own and goes to the router, as in any web server.
//!
//! | file | what |
//! | --- | --- |
//! | `connection` | reads requests, hands them out, writes answers |
//! | `table` | the calls that are served without a task |
//! | `intake` | a request's body, until its message is whole |
//! | `frame` | gRPC's five bytes before a message |
//! | `gather` | many small writes as one |
//! | `replies` | what the node answers, until the connection takes it |
//! | `bridge` | from streams of HTTP/2 to the router and back |
//! | `keep_alive` | whether a silent client is still there |

mod bridge;
mod connection;
mod frame;
mod gather;
mod intake;
mod keep_alive;
mod replies;
mod table;

pub use connection::{Failure, Services, serve};
pub use table::Table;
