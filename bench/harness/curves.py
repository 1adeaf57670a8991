"""The curves of bench/scale: what grows, through which values, and what is measured at each."""

from dataclasses import dataclass

POWERS = tuple(10**power for power in range(9))


@dataclass(frozen=True)
class Curve:
    """Something that is measured at several sizes of one thing."""

    name: str
    title: str
    # What grows, as reports name it, and as people do.
    option: str
    unit: str
    # A value gives the arguments of `oarlock bench`, for each server.
    arguments: dict
    # The pictures: figures over the option.
    pictures: tuple = ("per_second", "latency_us.p99")

    def cell(self, value):
        return f"{self.name}/{value}"


def both(arguments):
    """The same for etcd and for Oarlock, through etcd's API."""
    ask = lambda value: [*arguments(value), "--api", "etcd"]  # noqa: E731
    return {"oarlock": ask, "etcd": ask}


MEMORY = "server_resident_mib"
KEYS = (
    Curve("keys-put", "Puts among many keys", "keys", "keys",
          both(lambda keys: ["put", "--keys", keys]), ("per_second", "latency_us.p99", MEMORY)),
    Curve("keys-get", "Linearizable gets among many keys", "keys", "keys", both(lambda keys: ["get", "--keys", keys])),
)
# Restarts have no report of `oarlock bench`: only seconds and bytes.
RESTART = Curve("restart", "Restart of all servers after kill -9", "keys", "keys", {}, ("seconds",))
CLIENTS = (
    Curve("clients-put", "Puts of many clients", "clients", "clients", both(lambda count: ["put", "--clients", count])),
    Curve("clients-get", "Linearizable gets of many clients", "clients", "clients",
          both(lambda count: ["get", "--clients", count])),
)
SIZES = (
    Curve("value-put", "Puts of large values, 16 clients", "value_size", "bytes",
          both(lambda size: ["put", "--value-size", size, "--keys", 32, "--clients", 16])),
    Curve("value-get", "Linearizable gets of large values, 16 clients", "value_size", "bytes",
          both(lambda size: ["get", "--value-size", size, "--keys", 32, "--clients", 16, "--fill"])),
)
WATCHERS = (
    Curve("watchers", "Deliveries to watchers of one key, 5 writes/s", "watchers", "watchers",
          both(lambda count: ["watchers", "--count", count, "--writes", 5, "--one-key"]), ("latency_us.p99", MEMORY)),
)
SESSIONS = (
    Curve("sessions", "Keep-alives of sessions of 30 s; etcd: leases", "sessions", "sessions",
          {"oarlock": lambda count: ["sessions", "--count", count],
           "etcd": lambda count: ["sessions", "--count", count, "--api", "etcd"]}, ("latency_us.p99", MEMORY)),
)
NODES = (
    Curve("nodes-put", "Puts of 64 clients on more nodes", "nodes", "nodes", both(lambda _nodes: ["put"])),
    Curve("nodes-get", "Linearizable gets of 64 clients on more nodes", "nodes", "nodes", both(lambda _nodes: ["get"])),
)
ALL = (*KEYS, RESTART, *CLIENTS, *SIZES, *WATCHERS, *SESSIONS, *NODES)


def powers(least, greatest):
    """Powers of ten within bounds."""
    return [value for value in POWERS if least <= value <= greatest]
