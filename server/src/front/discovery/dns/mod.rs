//! Service discovery over DNS: A, AAAA, SRV and TXT of what is registered, on UDP and TCP.
//!
//! A packet takes four steps: [`server`] reads it off its socket, [`desk`] decides from what it is
//! answered, [`reply`] takes it apart and puts the answer together, [`zone`] knows what the answer
//! is ([`names`] and [`records`] are its parts). Everything but the sockets is free of waiting.
//!
//! The server is authoritative for its domain alone and refuses all other names. Whoever asks is
//! nobody, so while authentication is on it refuses everything unless told otherwise.

mod desk;
mod names;
mod rates;
mod records;
mod reply;
mod server;
#[cfg(test)]
mod tests;
mod zone;

pub use desk::Desk;
pub use server::Sockets;
pub use zone::Zone;
