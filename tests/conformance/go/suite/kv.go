package main

import (
	"bytes"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var kvChecks = []check{
	{"kv: a put is read back with its revisions", func(e *env) {
		first := e.put(e.prefix+"a", "1").Header.Revision
		second := e.put(e.prefix+"a", "2").Header.Revision
		kv := e.get(e.prefix + "a").Kvs[0]
		e.equal("revisions", []int64{kv.CreateRevision, kv.ModRevision, kv.Version}, []int64{first, second, 2})
		e.equal("revisions follow one another", second, first+1)
	}},
	{"kv: put returns what it replaced", func(e *env) {
		e.equal("nothing before", e.put(e.prefix+"a", "1", clientv3.WithPrevKV()).PrevKv == nil, true)
		e.equal("value before", string(e.put(e.prefix+"a", "2", clientv3.WithPrevKV()).PrevKv.Value), "1")
	}},
	{"kv: ignore value and ignore lease keep what is there", func(e *env) {
		_, err := e.client.Put(e, e.prefix+"a", "", clientv3.WithIgnoreValue())
		e.fails(err, rpctypes.ErrKeyNotFound)
		lease, err := e.client.Grant(e, 60)
		e.must(err)
		e.put(e.prefix+"a", "1", clientv3.WithLease(lease.ID))
		e.put(e.prefix+"a", "2", clientv3.WithIgnoreLease())
		e.put(e.prefix+"a", "", clientv3.WithIgnoreValue(), clientv3.WithLease(lease.ID))
		kv := e.get(e.prefix + "a").Kvs[0]
		e.equal("kept", fmt.Sprint(string(kv.Value), kv.Lease, kv.Version), fmt.Sprint("2", int64(lease.ID), 3))
	}},
	{"kv: count ignores limit, more says whether there is more", func(e *env) {
		fill(e, 10)
		page := e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithLimit(3))
		e.equal("page", fmt.Sprint(len(page.Kvs), page.Count, page.More), "3 10 true")
		page = e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithLimit(10))
		e.equal("all", fmt.Sprint(len(page.Kvs), page.Count, page.More), "10 10 false")
		count := e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		e.equal("count only", fmt.Sprint(len(count.Kvs), count.Count, count.More), "0 10 false")
	}},
	{"kv: every sort target in both orders", everySort},
	{"kv: filters by create and mod revision", func(e *env) {
		first := fill(e, 5)
		for _, query := range []struct {
			option clientv3.OpOption
			want   int
		}{
			{clientv3.WithMinCreateRev(first + 2), 3}, {clientv3.WithMaxCreateRev(first + 2), 3},
			{clientv3.WithMinModRev(first + 4), 1}, {clientv3.WithMaxModRev(first), 1},
		} {
			got := e.get(e.prefix, clientv3.WithPrefix(), query.option)
			e.equal("keys", len(got.Kvs), query.want)
			e.equal("count is of the range", got.Count, 5)
		}
	}},
	{"kv: first and last helpers", func(e *env) {
		fill(e, 4)
		e.put(e.prefix+"1", "later")
		e.equal("first key", keys(e.get(e.prefix, clientv3.WithFirstKey()...)), []string{e.prefix + "0"})
		e.equal("last key", keys(e.get(e.prefix, clientv3.WithLastKey()...)), []string{e.prefix + "3"})
		e.equal("last revision", keys(e.get(e.prefix, clientv3.WithLastRev()...)), []string{e.prefix + "1"})
		e.equal("first create", keys(e.get(e.prefix, clientv3.WithFirstCreate()...)), []string{e.prefix + "0"})
	}},
	{"kv: keys only leaves the values out", func(e *env) {
		fill(e, 2)
		for _, kv := range e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly()).Kvs {
			e.equal("value", len(kv.Value), 0)
		}
	}},
	{"kv: reads at an older revision", func(e *env) {
		old := e.put(e.prefix+"a", "1").Header.Revision
		e.put(e.prefix+"a", "2")
		e.put(e.prefix+"b", "x")
		got := e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithRev(old))
		e.equal("then", fmt.Sprint(keys(got), string(got.Kvs[0].Value)), fmt.Sprint([]string{e.prefix + "a"}, "1"))
		e.equal("the header's revision is the present one", got.Header.Revision, old+2)
		_, err := e.client.Get(e, e.prefix, clientv3.WithRev(got.Header.Revision+100))
		e.fails(err, rpctypes.ErrFutureRev)
	}},
	{"kv: serializable reads", func(e *env) {
		e.put(e.prefix+"a", "1")
		e.equal("count", e.get(e.prefix+"a", clientv3.WithSerializable()).Count <= 1, true)
	}},
	{"kv: delete returns what it deleted", func(e *env) {
		fill(e, 3)
		deleted, err := e.client.Delete(e, e.prefix, clientv3.WithPrefix(), clientv3.WithPrevKV())
		e.must(err)
		e.equal("deleted", fmt.Sprint(deleted.Deleted, len(deleted.PrevKvs)), "3 3")
		again, err := e.client.Delete(e, e.prefix, clientv3.WithPrefix())
		e.must(err)
		e.equal("nothing deleted, no new revision", fmt.Sprint(again.Deleted, again.Header.Revision-deleted.Header.Revision), "0 0")
	}},
	{"kv: a deleted key begins anew", func(e *env) {
		e.put(e.prefix+"a", "1")
		_, err := e.client.Delete(e, e.prefix+"a")
		e.must(err)
		revision := e.put(e.prefix+"a", "2").Header.Revision
		kv := e.get(e.prefix + "a").Kvs[0]
		e.equal("create revision and version", []int64{kv.CreateRevision, kv.Version}, []int64{revision, 1})
	}},
	{"kv: from-key range and empty interval", func(e *env) {
		fill(e, 3)
		got := e.get(e.prefix+"1", clientv3.WithRange(clientv3.GetPrefixRangeEnd(e.prefix)))
		e.equal("range", len(got.Kvs), 2)
		e.equal("backwards", len(e.get(e.prefix+"2", clientv3.WithRange(e.prefix+"1")).Kvs), 0)
		e.equal("from key", len(e.get(e.prefix+"1", clientv3.WithFromKey()).Kvs) >= 2, true)
	}},
	{"kv: values and keys of any bytes, and large ones", func(e *env) {
		key := e.prefix + string([]byte{0, 255, 254, 0})
		value := bytes.Repeat([]byte{0, 1, 255}, 300_000)
		e.put(key, string(value))
		got := e.get(key).Kvs[0]
		e.equal("same bytes", bytes.Equal(got.Value, value) && string(got.Key) == key, true)
	}},
	{"kv: a request over 1.5 MiB is refused", func(e *env) {
		_, err := e.client.Put(e, e.prefix+"a", string(make([]byte, 1_800_000)))
		e.fails(err, rpctypes.ErrRequestTooLarge)
	}},
	{"kv: an empty key is refused", func(e *env) {
		_, err := e.client.Put(e, "", "x")
		e.fails(err, rpctypes.ErrEmptyKey)
		_, err = e.client.Get(e, "")
		e.fails(err, rpctypes.ErrEmptyKey)
		_, err = e.client.Delete(e, "")
		e.fails(err, rpctypes.ErrEmptyKey)
	}},
	{"kv: compaction forgets what is older, and nothing else", compaction},
}

// fill puts count keys, 0 and up, and returns the revision of the first.
func fill(e *env, count int) int64 {
	first := int64(0)
	for i := range count {
		revision := e.put(fmt.Sprint(e.prefix, i), fmt.Sprint("value", (i*7)%count)).Header.Revision
		if i == 0 {
			first = revision
		}
	}
	return first
}

func everySort(e *env) {
	for _, step := range []string{"1c", "2x", "2x", "0x", "2a", "0b"} {
		e.put(e.prefix+step[:1], step[1:])
	}
	targets := map[clientv3.SortTarget]string{
		clientv3.SortByKey: "012", clientv3.SortByValue: "201", clientv3.SortByVersion: "102",
		clientv3.SortByCreateRevision: "120", clientv3.SortByModRevision: "120",
	}
	for target, want := range targets {
		up, down := "", ""
		for _, key := range keys(e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithSort(target, clientv3.SortAscend))) {
			up += key[len(e.prefix):]
		}
		for _, key := range keys(e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithSort(target, clientv3.SortDescend))) {
			down = key[len(e.prefix):] + down
		}
		e.equal(fmt.Sprint("ascending by ", target), up, want)
		e.equal(fmt.Sprint("descending by ", target), down, want)
	}
}

func compaction(e *env) {
	first := fill(e, 3)
	e.put(e.prefix+"0", "newer")
	_, err := e.client.Delete(e, e.prefix+"1")
	e.must(err)
	last := e.get(e.prefix).Header.Revision
	_, err = e.client.Compact(e, last, clientv3.WithCompactPhysical())
	e.must(err)
	_, err = e.client.Get(e, e.prefix, clientv3.WithRev(first))
	e.fails(err, rpctypes.ErrCompacted)
	_, err = e.client.Compact(e, first)
	e.fails(err, rpctypes.ErrCompacted)
	_, err = e.client.Compact(e, last+100)
	e.fails(err, rpctypes.ErrFutureRev)
	at := e.get(e.prefix, clientv3.WithPrefix(), clientv3.WithRev(last))
	e.equal("readable at the compacted revision", keys(at), []string{e.prefix + "0", e.prefix + "2"})
}
