"""What Python programs expect of etcd, through python-etcd3 (gRPC) and etcd3gw (the JSON gateway).

suite.py URL,...   prints one line for each check, ok or FAIL.
"""

import base64
import io
import os
import sys
import threading
import time
import urllib.parse

import etcd3
import etcd3gw

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"not refused with {kind.__name__}")


class Env:
    def __init__(self, url, name):
        parts = urllib.parse.urlparse(url)
        self.host, self.port = parts.hostname, parts.port
        self.client = etcd3.client(host=self.host, port=self.port, timeout=10)
        self.gateway = etcd3gw.client(host=self.host, port=self.port, timeout=10)
        self.prefix = f"python/{name}/"

    def key(self, name):
        return self.prefix + name


# python-etcd3


@check
def put_and_get(env):
    env.client.put(env.key("a"), "1")
    env.client.put(env.key("a"), "2")
    value, meta = env.client.get(env.key("a"))
    equal("value", value, b"2")
    equal("version", meta.version, 2)
    equal("revisions", meta.mod_revision > meta.create_revision, True)
    equal("absent", env.client.get(env.key("none")), (None, None))


@check
def prefix_sorted(env):
    for name, value in (("b", "1"), ("a", "3"), ("c", "2")):
        env.client.put(env.key(name), value)
    by = lambda **options: [meta.key.decode()[-1] for _, meta in env.client.get_prefix(env.prefix, **options)]
    equal("by key", by(), ["a", "b", "c"])
    equal("by value", by(sort_order="ascend", sort_target="value"), ["b", "c", "a"])
    equal("by creation, backwards", by(sort_order="descend", sort_target="create"), ["c", "a", "b"])
    equal("keys only", [v for v, _ in env.client.get_prefix(env.prefix, keys_only=True)], [b"", b"", b""])


@check
def put_if_not_exists_and_replace(env):
    equal("first", env.client.put_if_not_exists(env.key("a"), "1"), True)
    equal("second", env.client.put_if_not_exists(env.key("a"), "2"), False)
    equal("replace", env.client.replace(env.key("a"), "1", "3"), True)
    equal("replace of another", env.client.replace(env.key("a"), "1", "4"), False)
    equal("value", env.client.get(env.key("a"))[0], b"3")


@check
def delete_and_delete_prefix(env):
    for name in "abc":
        env.client.put(env.key(name), name)
    equal("one", env.client.delete(env.key("a")), True)
    equal("again", env.client.delete(env.key("a")), False)
    equal("deleted", env.client.delete_prefix(env.prefix).deleted, 2)


@check
def transactions(env):
    client, tx = env.client, env.client.transactions
    client.put(env.key("a"), "1")
    done, answers = client.transaction(
        compare=[tx.value(env.key("a")) == "1", tx.version(env.key("a")) > 0, tx.create(env.key("none")) == 0],
        success=[tx.put(env.key("a"), "2"), tx.get(env.key("a")), tx.delete(env.key("none"))],
        failure=[tx.put(env.key("a"), "no")],
    )
    equal("succeeded", done, True)
    equal("reads its own write", answers[1][0][0], b"2")


@check
def compaction(env):
    first = env.client.put(env.key("a"), "1").header.revision
    last = env.client.put(env.key("a"), "2").header.revision
    env.client.compact(last)
    refused(Exception, lambda: env.client.compact(first))


@check
def leases(env):
    lease = env.client.lease(60)
    env.client.put(env.key("a"), "1", lease=lease)
    equal("keys", list(lease.keys), [env.key("a").encode()])
    equal("granted", lease.granted_ttl, 60)
    equal("refreshed", [answer.TTL for answer in lease.refresh()], [60])
    lease.revoke()
    equal("gone", env.client.get(env.key("a")), (None, None))


@check
def lease_expires(env):
    lease = env.client.lease(2)
    env.client.put(env.key("a"), "1", lease=lease)
    deadline = time.time() + 15
    while env.client.get(env.key("a"))[0] is not None:
        equal("gone in time", time.time() < deadline, True)
        time.sleep(0.2)


@check
def watch_iterator(env):
    events, cancel = env.client.watch_prefix(env.prefix)
    env.client.put(env.key("a"), "1")
    env.client.delete(env.key("a"))
    seen = [next(events), next(events)]
    cancel()
    equal("kinds", [type(event).__name__ for event in seen], ["PutEvent", "DeleteEvent"])
    equal("keys", [event.key for event in seen], [env.key("a").encode()] * 2)


@check
def watch_from_a_revision(env):
    first = env.client.put(env.key("a"), "1").header.revision
    env.client.put(env.key("a"), "2")
    events, cancel = env.client.watch(env.key("a"), start_revision=first)
    equal("values", [next(events).value, next(events).value], [b"1", b"2"])
    cancel()


@check
def watch_callback_and_compacted_start(env):
    first = env.client.put(env.key("a"), "1").header.revision
    last = env.client.put(env.key("a"), "2").header.revision
    env.client.compact(last)
    told = threading.Event()
    compacted = []

    def callback(event):
        compacted.append(event)
        told.set()

    env.client.add_watch_callback(env.key("a"), callback, start_revision=first)
    equal("told", told.wait(10), True)
    equal("compacted revision", compacted[0].compacted_revision, last)


@check
def locks(env):
    with env.client.lock(env.prefix + "l", ttl=10) as held:
        equal("held", held.is_acquired(), True)
        other = env.client.lock(env.prefix + "l", ttl=10)
        equal("second", other.acquire(timeout=1), False)
    equal("after", other.acquire(timeout=5), True)
    other.release()


@check
def members_and_status(env):
    equal("members", len(list(env.client.members)), 3)
    status = env.client.status()
    equal("version", status.version.startswith("3."), True)
    equal("leader is a member", status.leader.id in [member.id for member in env.client.members], True)
    equal("hash", env.client.hash() == env.client.hash(), True)
    equal("alarms", list(env.client.list_alarms()), [])
    env.client.defragment()


@check
def snapshot(env):
    file = io.BytesIO()
    env.client.snapshot(file)
    equal("some bytes", file.tell() > 32, True)


# etcd3gw, over HTTP


@check
def gateway_status_and_members(env):
    equal("members", len(env.gateway.members()), 3)
    equal("version", env.gateway.status()["version"].startswith("3."), True)


@check
def gateway_put_get_delete(env):
    equal("put", env.gateway.put(env.key("a"), "1"), True)
    equal("get", env.gateway.get(env.key("a")), [b"1"])
    equal("with metadata", env.gateway.get(env.key("a"), metadata=True)[0][1]["version"], "1")
    env.gateway.put(env.key("b"), "2")
    equal("prefix", [value for value, _ in env.gateway.get_prefix(env.prefix)], [b"1", b"2"])
    equal("backwards", env.gateway.get_prefix(env.prefix, sort_order="descend", sort_target="key")[0][0], b"2")
    equal("delete", env.gateway.delete(env.key("a")), True)
    equal("delete again", env.gateway.delete(env.key("a")), False)
    equal("delete prefix", env.gateway.delete_prefix(env.prefix), True)


@check
def gateway_transactions(env):
    equal("create", env.gateway.create(env.key("a"), "1"), True)
    equal("create again", env.gateway.create(env.key("a"), "2"), False)
    equal("replace", env.gateway.replace(env.key("a"), "1", "3"), True)
    equal("replace of another", env.gateway.replace(env.key("a"), "1", "4"), False)
    txn = {
        "compare": [{"key": b64(env.key("a")), "result": "EQUAL", "target": "VALUE", "value": b64("3")}],
        "success": [{"requestPut": {"key": b64(env.key("a")), "value": b64("5")}}],
        "failure": [],
    }
    equal("own", env.gateway.transaction(txn)["succeeded"], True)


@check
def gateway_leases(env):
    lease = env.gateway.lease(ttl=60)
    env.gateway.put(env.key("a"), "1", lease=lease)
    equal("time to live", 50 < lease.ttl() <= 60, True)
    equal("keys", lease.keys(), [env.key("a").encode()])
    equal("refresh", lease.refresh(), 60)
    equal("revoke", lease.revoke(), True)
    equal("gone", env.gateway.get(env.key("a")), [])


@check
def gateway_locks(env):
    first, second = env.gateway.lock(env.prefix, ttl=10), env.gateway.lock(env.prefix, ttl=10)
    equal("first", first.acquire(), True)
    equal("second", second.acquire(), False)
    equal("release", first.release(), True)
    equal("second", second.acquire(), True)
    equal("release", second.release(), True)


@check
def gateway_watch(env):
    events, cancel = env.gateway.watch_prefix(env.prefix)
    threading.Timer(0.5, lambda: env.gateway.put(env.key("a"), "1")).start()
    threading.Timer(0.8, lambda: env.gateway.delete(env.key("a"))).start()
    first, second = next(events), next(events)
    cancel()
    equal("first", first["kv"]["value"], b"1")
    equal("second", second["type"], "DELETE")


@check
def gateway_errors(env):
    lease_gone = lambda: env.gateway.put(env.key("a"), "1", lease=etcd3gw.Lease(0x7654321, client=env.gateway))
    refused(Exception, lease_gone)
    refused(Exception, lambda: env.gateway.put("", "1"))


def b64(text):
    return base64.b64encode(text.encode()).decode()


def main():
    urls = sys.argv[1].split(",")
    failed = 0
    for number, function in enumerate(CHECKS):
        outcome = []

        def run():
            try:
                function(Env(urls[number % len(urls)], function.__name__))
                outcome.append(None)
            except BaseException as error:  # whatever it is, the check does not hold
                outcome.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(30)
        problem = outcome[0] if outcome else "not done in 30 s"
        failed += problem is not None
        print(f"ok {function.__name__}" if problem is None else f"FAIL {function.__name__}: {problem}", flush=True)
    sys.stdout.flush()
    # Threads of the clients may still wait for a server.
    os._exit(1 if failed else 0)


main()
