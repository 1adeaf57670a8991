"""The matrix of bench/compare: what is measured, on which servers, through which API."""

from dataclasses import dataclass, field

ETCD = "Through etcd's API"
ZOOKEEPER = "ZooKeeper's protocol, and Oarlock's own"
NATIVE = "Oarlock's session streams, many operations in flight"
LOCKS = "Locks"


@dataclass(frozen=True)
class Side:
    """How one server is asked."""

    api: str
    arguments: tuple

    def run(self, bench, cluster, args, number):
        return bench.run(cluster, [*self.arguments, "--api", self.api, *self.times(args, number)])

    def times(self, args, number):
        """How long; and where every run makes keys, other keys than those of other rounds."""
        if self.arguments[0] == "fill":
            clients = self.arguments[self.arguments.index("--clients") + 1]
            keys = int(args.seconds * (500 if clients == 1 else 6000))
            return ["--keys", keys, "--prefix", f"/made/{clients}/{number}/"]
        if self.arguments[0] == "watchers":
            return ["--seconds", args.seconds, "--prefix", f"/watched/{number}/"]
        return ["--seconds", args.seconds, "--warm-up", args.warm_up]


@dataclass(frozen=True)
class Curator:
    """ZooKeeper's locks, by the program in bench/curator."""

    contenders: int
    locks: int
    api: str = "zookeeper"

    def run(self, bench, cluster, args, number):
        return bench.curator(cluster, [self.contenders, self.locks, args.seconds, args.warm_up])


@dataclass(frozen=True)
class Cell:
    """One kind of work with one number of clients."""

    name: str
    group: str
    title: str
    clients: int
    sides: dict = field(hash=False)
    quick: bool = True


def through_etcd(name, title, arguments, clients, quick=True):
    words = (*arguments, "--clients", clients)
    sides = {server: Side("etcd", words) for server in ("etcd", "oarlock")}
    return Cell(f"{name}/{clients}", ETCD, title, clients, sides, quick)


def beside_zookeeper(name, title, arguments, clients, quick=True):
    """Oarlock does not speak ZooKeeper's protocol: it is asked the same one by one through its own API."""
    words = (*arguments, "--clients", clients)
    sides = {"zookeeper": Side("zookeeper", words), "oarlock": Side("native", words)}
    return Cell(f"{name}/{clients}", ZOOKEEPER, title, clients, sides, quick)


def streams(name, title, kind, clients, in_flight):
    words = (kind, "--mode", "stream", "--clients", clients, "--in-flight", in_flight)
    total = clients * in_flight
    return Cell(f"{name}/{total}", NATIVE, title, total, {"oarlock": Side("native", words)}, total == 1024)


def watching(name, title, count, more=()):
    words = ("watchers", "--count", count, "--streams", 100, "--writes", 20, *more)
    sides = {server: Side("etcd", words) for server in ("etcd", "oarlock")}
    return Cell(f"{name}/{count}", ETCD, title, count, sides, count == 1000)


def locking(contenders, locks, quick=True):
    words = ("locks", "--contenders", contenders, "--locks", locks)
    sides = {
        "etcd": Side("etcd", words),
        "oarlock": Side("native", words),
        "zookeeper": Curator(contenders, locks),
    }
    title = "each for a lock of its own" if locks == contenders else "all for one lock"
    return Cell(f"locks/{contenders}-for-{locks}", LOCKS, title, contenders, sides, quick)


# Clients, and operations that each keeps in flight.
STREAMS = ((16, 16), (16, 64), (16, 256), (64, 256))
LOCAL = ("--consistency", "serializable")
ALL = [
    *(through_etcd("put", "put", ("put",), count) for count in (1, 64, 256)),
    *(through_etcd("get", "get, linearizable", ("get",), count) for count in (1, 64, 256)),
    *(through_etcd("get-local", "get, serializable", ("get", *LOCAL), count, count == 64) for count in (1, 64, 256)),
    *(through_etcd("mixed", "9 gets for 1 put", ("mixed",), count, count == 64) for count in (64, 256)),
    *(through_etcd("txn", "transaction of 4 puts", ("txn",), count, count == 64) for count in (64, 256)),
    *(through_etcd("keep-alive", "keep-alive of a lease", ("keep-alive",), count, count == 64) for count in (1, 64)),
    *(watching("watch", "watchers of one prefix, 20 writes/s", count) for count in (100, 1000)),
    watching("watch-key", "watchers of one key, 20 writes/s", 1000, ("--one-key",)),
    *(beside_zookeeper("set", "setData; put", ("put",), count) for count in (1, 64, 256)),
    *(beside_zookeeper("create", "create; put of a new key", ("fill",), count, count == 64) for count in (1, 64, 256)),
    *(beside_zookeeper("get-data", "getData; serializable get", ("get", *LOCAL), count) for count in (1, 64, 256)),
    beside_zookeeper("sync-get", "sync and getData; linearizable get", ("get",), 64, False),
    *(streams("stream-put", "put", "put", *size) for size in STREAMS),
    *(streams("stream-get", "get, linearizable", "get", *size) for size in STREAMS),
    *(locking(count, locks, False) for count, locks in ((1, 1), (64, 64), (4, 1), (64, 1))),
]
