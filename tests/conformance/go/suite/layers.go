package main

import (
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

var layerChecks = []check{
	{"layer: namespace", func(e *env) {
		kv := namespace.NewKV(e.client.KV, e.prefix)
		watcher := namespace.NewWatcher(e.client.Watcher, e.prefix)
		events := watcher.Watch(e, "a", clientv3.WithCreatedNotify())
		<-events
		_, err := kv.Put(e, "a", "1")
		e.must(err)
		got, err := kv.Get(e, "", clientv3.WithPrefix())
		e.must(err)
		e.equal("inside", keys(got), []string{"a"})
		e.equal("outside", e.get(e.prefix+"a").Count, 1)
		e.equal("event", e.next(events, 1), "PUT a=1")
		response, err := kv.Txn(e).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpDelete("a")).Commit()
		e.must(err)
		e.equal("deleted", response.Succeeded, true)
	}},
	{"layer: ordering never reads backwards", func(e *env) {
		client := e.another()
		defer client.Close()
		kv := ordering.NewKV(client.KV, ordering.NewOrderViolationSwitchEndpointClosure(client))
		last := int64(0)
		for i := range 30 {
			revision := e.put(e.prefix+"a", fmt.Sprint(i)).Header.Revision
			got, err := kv.Get(e, e.prefix+"a")
			e.must(err)
			e.equal("at least", got.Header.Revision >= revision, true)
			got, err = kv.Get(e, e.prefix+"a", clientv3.WithSerializable())
			e.must(err)
			e.equal("not backwards", got.Header.Revision >= last, true)
			last = got.Header.Revision
		}
	}},
	{"layer: mirror copies what is there and what follows", func(e *env) {
		fill(e, 30)
		syncer := mirror.NewSyncer(e.client, e.prefix, 0)
		responses, errors := syncer.SyncBase(e)
		count := 0
		for response := range responses {
			count += len(response.Kvs)
		}
		e.must(<-errors)
		e.equal("base", count, 30)
		updates := syncer.SyncUpdates(e)
		e.put(e.prefix+"new", "1")
		e.equal("update", e.next(updates, 1), "PUT new=1")
	}},
	{"layer: leasing cache", func(e *env) {
		kv, closeIt, err := leasing.NewKV(e.client, e.prefix+"leases/")
		e.must(err)
		defer closeIt()
		e.put(e.prefix+"a", "1")
		for _, want := range []string{"1", "1", "2"} {
			if want == "2" {
				_, err := kv.Put(e, e.prefix+"a", "2")
				e.must(err)
			}
			got, err := kv.Get(e, e.prefix+"a")
			e.must(err)
			e.equal("value", string(got.Kvs[0].Value), want)
		}
		second := e.another()
		defer second.Close()
		other, closeOther, err := leasing.NewKV(second, e.prefix+"leases/")
		e.must(err)
		defer closeOther()
		_, err = other.Put(e, e.prefix+"a", "3") // takes the first one's ownership away
		e.must(err)
		got, err := kv.Get(e, e.prefix+"a")
		e.must(err)
		e.equal("value", string(got.Kvs[0].Value), "3")
	}},
	{"layer: naming endpoints", func(e *env) {
		manager, err := endpoints.NewManager(e.client, e.prefix+"service")
		e.must(err)
		updates, err := manager.NewWatchChannel(e)
		e.must(err)
		e.must(manager.AddEndpoint(e, e.prefix+"service/1", endpoints.Endpoint{Addr: "10.0.0.1:1"}))
		select {
		case update := <-updates:
			e.equal("update", update[0].Endpoint.Addr, "10.0.0.1:1")
		case <-time.After(5 * time.Second):
			e.failf("no update came")
		}
		listed := func(want int) {
			for { // it reads from any member, also from one that lags
				list, err := manager.List(e)
				e.must(err)
				if len(list) == want {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		listed(1)
		e.must(manager.DeleteEndpoint(e, e.prefix+"service/1"))
		listed(0)
	}},
}
