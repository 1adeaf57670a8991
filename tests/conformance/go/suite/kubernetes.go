package main

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

var kubernetesChecks = []check{
	{"kubernetes: get and its revision", func(e *env) {
		k := e.kubernetes()
		got, err := k.Get(e, e.prefix+"a", kubernetes.GetOptions{})
		e.must(err)
		e.equal("absent", got.KV == nil, true)
		first := e.put(e.prefix+"a", "1").Header.Revision
		e.put(e.prefix+"a", "2")
		got, err = k.Get(e, e.prefix+"a", kubernetes.GetOptions{Revision: first})
		e.must(err)
		e.equal("then", string(got.KV.Value), "1")
	}},
	{"kubernetes: list in pages of one revision", func(e *env) {
		fill(e, 9)
		k := e.kubernetes()
		seen, from, revision := 0, "", int64(0)
		for {
			page, err := k.List(e, e.prefix, kubernetes.ListOptions{Limit: 4, Continue: from, Revision: revision})
			e.must(err)
			e.equal("remaining and seen", page.Count+int64(seen), 9)
			if revision == 0 {
				revision = page.Revision
				e.put(e.prefix+"99", "added between pages")
			}
			seen += len(page.Kvs)
			if len(page.Kvs) < 4 || seen == 9 {
				break
			}
			from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		}
		e.equal("seen", seen, 9)
	}},
	{"kubernetes: count", func(e *env) {
		fill(e, 5)
		count, err := e.kubernetes().Count(e, e.prefix, kubernetes.CountOptions{})
		e.must(err)
		e.equal("count", count, 5)
	}},
	{"kubernetes: optimistic put", func(e *env) {
		k := e.kubernetes()
		key := e.prefix + "a"
		created, err := k.OptimisticPut(e, key, []byte("1"), 0, kubernetes.PutOptions{})
		e.must(err)
		e.equal("created", created.Succeeded, true)
		conflict, err := k.OptimisticPut(e, key, []byte("2"), 0, kubernetes.PutOptions{GetOnFailure: true})
		e.must(err)
		e.equal("conflict", fmt.Sprint(conflict.Succeeded, string(conflict.KV.Value)), "false1")
		updated, err := k.OptimisticPut(e, key, []byte("2"), created.Revision, kubernetes.PutOptions{})
		e.must(err)
		e.equal("updated", updated.Succeeded, true)
		e.equal("revision is the key's", e.get(key).Kvs[0].ModRevision, updated.Revision)
	}},
	{"kubernetes: optimistic put with a lease", func(e *env) {
		lease := e.lease(60)
		_, err := e.kubernetes().OptimisticPut(e, e.prefix+"a", []byte("1"), 0, kubernetes.PutOptions{LeaseID: lease})
		e.must(err)
		e.equal("lease", e.get(e.prefix + "a").Kvs[0].Lease, int64(lease))
	}},
	{"kubernetes: optimistic delete", func(e *env) {
		k := e.kubernetes()
		revision := e.put(e.prefix+"a", "1").Header.Revision
		refused, err := k.OptimisticDelete(e, e.prefix+"a", revision-1, kubernetes.DeleteOptions{GetOnFailure: true})
		e.must(err)
		e.equal("refused", fmt.Sprint(refused.Succeeded, string(refused.KV.Value)), "false1")
		deleted, err := k.OptimisticDelete(e, e.prefix+"a", revision, kubernetes.DeleteOptions{})
		e.must(err)
		e.equal("deleted", deleted.Succeeded, true)
	}},
	{"kubernetes: list, then watch what follows with bookmarks", listThenWatch},
	{"kubernetes: a compacted list revision is refused", func(e *env) {
		fill(e, 3)
		last := e.get(e.prefix).Header.Revision
		_, err := e.client.Compact(e, last)
		e.must(err)
		_, err = e.kubernetes().List(e, e.prefix, kubernetes.ListOptions{Revision: last - 1})
		e.fails(err, rpctypes.ErrCompacted)
	}},
	{"kubernetes: compaction guarded by a key of its own", func(e *env) {
		// What its API server does: only the one that moves the key on compacts.
		key := e.prefix + "compact_rev_key"
		attempt := func(version int64) (bool, int64) {
			response, err := e.client.Txn(e).If(clientv3.Compare(clientv3.Version(key), "=", version)).
				Then(clientv3.OpPut(key, "1")).Else(clientv3.OpGet(key)).Commit()
			e.must(err)
			if response.Succeeded {
				return true, 0
			}
			return false, response.Responses[0].GetResponseRange().Kvs[0].Version
		}
		first, _ := attempt(0)
		second, version := attempt(0)
		e.equal("attempts", fmt.Sprint(first, second, version), "true false 1")
	}},
	{"kubernetes: status has a version that it reads", func(e *env) {
		for _, endpoint := range e.endpoints {
			status, err := e.client.Status(e, endpoint)
			e.must(err)
			var major, minor, patch int
			_, err = fmt.Sscanf(status.Version, "%d.%d.%d", &major, &minor, &patch)
			e.must(err)
			// From 3.5.13 and 3.4.31 on it asks for progress on its watches.
			e.equal("version", major == 3 && (minor > 5 || minor == 5 && patch >= 13), true)
			e.equal("database size", status.DbSize > 0, true)
		}
	}},
}

func (e *env) kubernetes() *kubernetes.Client {
	client, err := kubernetes.New(clientv3.Config{Endpoints: e.endpoints, DialTimeout: 5 * time.Second})
	e.must(err)
	go func() {
		<-e.Done()
		client.Close()
	}()
	return client
}

// listThenWatch lists, writes, and watches from the list: every event and then a bookmark that is
// not ahead of an event still to come.
func listThenWatch(e *env) {
	fill(e, 3)
	k := e.kubernetes()
	list, err := k.List(e, e.prefix, kubernetes.ListOptions{})
	e.must(err)
	events := k.Watch(clientv3.WithRequireLeader(e), e.prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(),
		clientv3.WithRev(list.Revision+1), clientv3.WithProgressNotify())
	go func() {
		for i := range 200 {
			if _, err := e.client.Put(e, e.prefix+"0", fmt.Sprint(i)); err != nil {
				return
			}
		}
	}()
	seen, revision, bookmarked := 0, list.Revision, false
	for seen < 200 || !bookmarked {
		if seen%20 == 0 {
			e.must(k.RequestProgress(clientv3.WithRequireLeader(e)))
		}
		select {
		case response := <-events:
			e.must(response.Err())
			for _, event := range response.Events {
				if event.Kv.ModRevision <= revision {
					e.failf("event of revision %d after %d", event.Kv.ModRevision, revision)
				}
				revision = event.Kv.ModRevision
				seen++
			}
			if response.IsProgressNotify() && response.Header.Revision > list.Revision {
				revision = max(revision, response.Header.Revision)
				bookmarked = true
			}
		case <-time.After(300 * time.Millisecond):
			e.must(k.RequestProgress(clientv3.WithRequireLeader(e)))
		case <-e.Done():
			e.failf("%d of 200 events, bookmark: %v", seen, bookmarked)
		}
	}
}
