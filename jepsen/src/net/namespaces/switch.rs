//! The switch: one thread that carries IP packets from device to device, by their destination's
//! address, and lets each link do to them what it does.

use super::wire::Wire;
use super::{HEADER_LENGTH_MIN, row_of};
use crate::net::links::{Link, Links, bump};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tun_rs::SyncDevice;

/// Packets read from one device before the others have their turn.
const BATCH_LENGTH: usize = 64;
const PACKET_BYTES_MAX: usize = 1 << 16;

/// The thread. When it is dropped the thread ends, and all devices with it.
#[derive(Debug)]
pub(super) struct Switch {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts to carry packets. The devices are in the order of rows: each node's, then the one of the
    /// harness and its clients.
    pub(super) fn start(devices: Vec<SyncDevice>, links: Arc<Links>, seed: u64) -> io::Result<Self> {
        for device in &devices {
            device.set_nonblocking(true)?;
        }
        let (stopped, stop) = io::pipe()?;
        let carrier = Carrier {
            table: links.copy(),
            seen: links.changes(),
            wires: vec![Wire::default(); links.width() * links.width()],
            links,
            devices,
            chance: StdRng::seed_from_u64(seed),
            began: Instant::now(),
            waiting: BinaryHeap::new(),
            sequence: 0,
        };
        let thread =
            std::thread::Builder::new().name("switch".into()).spawn(move || carrier.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop = None; // the reader sees the end
        if let Some(thread) = self.thread.take() {
            // It has panicked only on a bug, which its message has told.
            let _ = thread.join();
        }
    }
}

/// A packet on its way. Ordered by its time, then by its number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    sequence: u64,
    wire: usize,
    packet: Vec<u8>,
}

struct Carrier {
    devices: Vec<SyncDevice>,
    links: Arc<Links>,
    /// A copy of the links' states as of the change last seen.
    table: Vec<Link>,
    seen: u64,
    wires: Vec<Wire>,
    chance: StdRng,
    began: Instant,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sequence: u64,
}

impl Carrier {
    fn run(mut self, stopped: &PipeReader) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let ready = match self.wait(stopped) {
                Ok(Some(ready)) => ready,
                Ok(None) => return,
                Err(Errno::EINTR) => continue,
                Err(error) => panic!("the switch cannot wait for packets: {error}"),
            };
            self.deliver_due();
            for device in ready {
                self.drain(device, &mut buffer);
            }
        }
    }

    /// Waits for packets or for one to become due. Says which devices have some; none at the end.
    fn wait(&self, stopped: &PipeReader) -> Result<Option<Vec<usize>>, Errno> {
        let mut polled = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        polled.extend(self.devices.iter().map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN)));
        let timeout = self
            .waiting
            .peek()
            .map(|Reverse(first)| TimeSpec::from_duration(first.due.saturating_sub(self.began.elapsed())));
        ppoll(&mut polled, timeout, None)?;
        if polled[0].any().unwrap_or(false) {
            return Ok(None);
        }
        let ready = polled[1..].iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(false));
        Ok(Some(ready.map(|(device, _)| device).collect()))
    }

    /// Before every packet, so that a change holds for what is sent after it.
    fn look_at_links(&mut self) {
        let changes = self.links.changes();
        if changes != self.seen {
            self.table = self.links.copy();
            self.seen = changes;
        }
    }

    fn deliver_due(&mut self) {
        let now = self.began.elapsed();
        while self.waiting.peek().is_some_and(|Reverse(first)| first.due <= now) {
            let Reverse(Waiting { wire, packet, .. }) = self.waiting.pop().expect("just seen");
            self.wires[wire].gave(packet.len());
            self.look_at_links();
            if self.table[wire].cut {
                bump(&self.links.counters_at(wire).cut);
            } else {
                self.deliver(wire, &packet);
            }
        }
    }

    fn drain(&mut self, device: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH_LENGTH {
            match self.devices[device].recv(buffer) {
                Ok(length) => self.carry(&mut buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The device is down for a moment, as when an address is added.
                Err(_) => return,
            }
        }
    }

    fn carry(&mut self, packet: &mut [u8]) {
        let Some((from, to, header)) = self.route(packet) else { return };
        self.look_at_links();
        let wire = from * self.links.width() + to;
        let now = self.began.elapsed();
        let counters = self.links.counters_at(wire);
        let size = (packet.len(), header);
        let fate = self.wires[wire].decide(&self.table[wire], size, now, &mut self.chance, counters);
        if let Some(bit) = fate.flip {
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        for due in [fate.due, fate.again].into_iter().flatten() {
            if due <= now {
                self.deliver(wire, packet);
            } else {
                self.wires[wire].took(packet.len());
                self.sequence += 1;
                let packet = packet.to_vec();
                self.waiting.push(Reverse(Waiting { due, sequence: self.sequence, wire, packet }));
            }
        }
    }

    /// Sender's row, receiver's row, length of the header. None for what is not between two places, as
    /// the multicasts of a new interface.
    fn route(&self, packet: &[u8]) -> Option<(usize, usize, usize)> {
        if packet.len() < HEADER_LENGTH_MIN || packet[0] >> 4 != 4 {
            return None;
        }
        let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes").into();
        let from = row_of(address(12), &self.links)?;
        let to = row_of(address(16), &self.links)?;
        Some((from, to, usize::from(packet[0] & 15) * 4))
    }

    fn deliver(&self, wire: usize, packet: &[u8]) {
        let device = (wire % self.links.width()).min(self.devices.len() - 1);
        let counters = self.links.counters_at(wire);
        match self.devices[device].send(packet) {
            Ok(_) => bump(&counters.delivered),
            Err(_) => bump(&counters.overflowed),
        }
    }
}
