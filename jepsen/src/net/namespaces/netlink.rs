//! The three requests to the kernel's routing socket that a new network namespace needs, in the format
//! of rtnetlink(7): an interface up, its packet size, an address.

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const HEADER_LENGTH: usize = 16;

/// Brings an interface of this thread's namespace up.
pub(super) fn up(interface: &str) -> io::Result<()> {
    let mut body = vec![0; 4];
    body.extend(index(interface)?.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes()); // which flags change
    request(RTM_NEWLINK, 0, &body)
}

/// Gives an interface of this thread's namespace an address, besides those it has.
pub(super) fn add_address(interface: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(index(interface)?.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend(8u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(address.octets());
    }
    request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
}

fn index(interface: &str) -> io::Result<u32> {
    Ok(if_nametoindex(interface)?)
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER_LENGTH + body.len()).expect("requests are short");
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend(1u32.to_ne_bytes()); // a number to know the answer by; there is but one
    message.extend(0u32.to_ne_bytes());
    message.extend(body);

    let family = AddressFamily::Netlink;
    let route = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(route.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = &answer[..length];
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code = answer.get(16..20).map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not one of rtnetlink")),
    }
}
