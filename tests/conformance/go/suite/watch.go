package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var watchChecks = []check{
	{"watch: events from now on, in order", func(e *env) {
		events := e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		e.equal("created", (<-events).Created, true)
		fill(e, 3)
		_, err := e.client.Delete(e, e.prefix, clientv3.WithPrefix())
		e.must(err)
		want := "PUT 0=value0 PUT 1=value1 PUT 2=value2 DELETE 0= DELETE 1= DELETE 2="
		e.equal("events", e.next(events, 6), want)
	}},
	{"watch: history from a start revision, then what follows", func(e *env) {
		first := fill(e, 2)
		events := e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithRev(first+1))
		e.put(e.prefix+"9", "x")
		e.equal("events", e.next(events, 2), "PUT 1=value1 PUT 9=x")
	}},
	{"watch: a future start revision waits for it", func(e *env) {
		now := e.get(e.prefix).Header.Revision
		events := e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithRev(now+2), clientv3.WithCreatedNotify())
		<-events
		fill(e, 3)
		e.equal("events", e.next(events, 2), "PUT 1=value1 PUT 2=value2")
	}},
	{"watch: previous values", func(e *env) {
		first := e.put(e.prefix+"a", "1").Header.Revision
		e.put(e.prefix+"a", "2")
		_, err := e.client.Delete(e, e.prefix+"a")
		e.must(err)
		seen := ""
		for response := range e.client.Watch(e, e.prefix+"a", clientv3.WithRev(first), clientv3.WithPrevKV()) {
			for _, event := range response.Events {
				if event.PrevKv != nil {
					seen += string(event.PrevKv.Value) + " "
				} else {
					seen += "none "
				}
			}
			if strings.Count(seen, " ") == 3 {
				break
			}
		}
		e.equal("previous", seen, "none 1 2 ")
	}},
	{"watch: filters leave out puts or deletes", func(e *env) {
		first := e.put(e.prefix+"a", "1").Header.Revision
		_, err := e.client.Delete(e, e.prefix+"a")
		e.must(err)
		e.put(e.prefix+"a", "2")
		noPut := e.client.Watch(e, e.prefix+"a", clientv3.WithRev(first), clientv3.WithFilterPut())
		e.equal("no puts", e.next(noPut, 1), "DELETE a=")
		noDelete := e.client.Watch(e, e.prefix+"a", clientv3.WithRev(first), clientv3.WithFilterDelete())
		e.equal("no deletes", e.next(noDelete, 2), "PUT a=1 PUT a=2")
	}},
	{"watch: ranges and from-key", func(e *env) {
		first := fill(e, 4)
		some := e.client.Watch(e, e.prefix+"1", clientv3.WithRange(e.prefix+"3"), clientv3.WithRev(first))
		e.equal("range", e.next(some, 2), "PUT 1=value3 PUT 2=value2")
		from := e.client.Watch(e, e.prefix+"2", clientv3.WithFromKey(), clientv3.WithRev(first))
		e.equal("from key", e.next(from, 2), "PUT 2=value2 PUT 3=value1")
	}},
	{"watch: one transaction is one response", func(e *env) {
		events := e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events
		_, err := e.client.Txn(e).Then(clientv3.OpPut(e.prefix+"a", "1"), clientv3.OpPut(e.prefix+"b", "2"),
			clientv3.OpDelete(e.prefix+"none")).Commit()
		e.must(err)
		response := <-events
		e.equal("events", len(response.Events), 2)
		e.equal("revisions", response.Events[0].Kv.ModRevision, response.Events[1].Kv.ModRevision)
	}},
	{"watch: a compacted start revision is told with the compact revision", func(e *env) {
		fill(e, 3)
		last := e.get(e.prefix).Header.Revision
		_, err := e.client.Compact(e, last)
		e.must(err)
		response := <-e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithRev(last-2))
		e.equal("compact revision", response.CompactRevision, last)
		e.equal("canceled", response.Canceled, true)
		e.fails(response.Err(), rpctypes.ErrCompacted)
	}},
	{"watch: progress on request", func(e *env) {
		events := e.client.Watch(e, e.prefix+"a", clientv3.WithCreatedNotify())
		<-events
		now := e.put(e.prefix+"other", "1").Header.Revision
		for {
			e.must(e.client.RequestProgress(e))
			select {
			case response := <-events:
				if response.IsProgressNotify() && response.Header.Revision >= now {
					return
				}
			case <-time.After(500 * time.Millisecond):
			case <-e.Done():
				e.failf("no progress was told")
			}
		}
	}},
	{"watch: many on one stream each get their own", func(e *env) {
		channels := []clientv3.WatchChan{}
		for i := range 50 {
			channels = append(channels, e.client.Watch(e, fmt.Sprint(e.prefix, i), clientv3.WithCreatedNotify()))
		}
		for _, events := range channels {
			e.equal("created", (<-events).Created, true)
		}
		for i := range 50 {
			e.put(fmt.Sprint(e.prefix, i), "v")
		}
		for i, events := range channels {
			e.equal("event", e.next(events, 1), fmt.Sprint("PUT ", i, "=v"))
		}
	}},
	{"watch: fragments put together are whole", func(e *env) {
		ops := []clientv3.Op{}
		for i := range 20 {
			ops = append(ops, clientv3.OpPut(fmt.Sprint(e.prefix, i), strings.Repeat("x", 60_000)))
		}
		events := e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
		<-events
		for range 3 {
			_, err := e.client.Txn(e).Then(ops...).Commit()
			e.must(err)
		}
		count := 0
		for count < 60 {
			select {
			case response := <-events:
				e.must(response.Err())
				count += len(response.Events)
			case <-e.Done():
				e.failf("%d of 60 events came", count)
			}
		}
	}},
	{"watch: canceling one ends its channel and no other", func(e *env) {
		ctx, cancel := context.WithCancel(e)
		one := e.client.Watch(ctx, e.prefix+"a", clientv3.WithCreatedNotify())
		other := e.client.Watch(e, e.prefix+"a", clientv3.WithCreatedNotify())
		<-one
		<-other
		cancel()
		_, open := <-one
		e.equal("open", open, false)
		e.put(e.prefix+"a", "1")
		e.equal("other", e.next(other, 1), "PUT a=1")
	}},
	{"watch: an empty range is refused", func(e *env) {
		response := <-e.client.Watch(e, e.prefix+"b", clientv3.WithRange(e.prefix+"a"))
		e.equal("canceled", response.Canceled, true)
	}},
	{"watch: with a leader required", func(e *env) {
		events := e.client.Watch(clientv3.WithRequireLeader(e), e.prefix+"a", clientv3.WithCreatedNotify())
		e.equal("created", (<-events).Created, true)
		e.put(e.prefix+"a", "1")
		e.equal("event", e.next(events, 1), "PUT a=1")
	}},
}

// next gathers count events as text.
func (e *env) next(events clientv3.WatchChan, count int) string {
	seen := []string{}
	revision := int64(0)
	for len(seen) < count {
		select {
		case response, open := <-events:
			if !open {
				e.failf("the watch ended after %v", seen)
			}
			e.must(response.Err())
			for _, event := range response.Events {
				if event.Kv.ModRevision < revision {
					e.failf("revision %d came after %d", event.Kv.ModRevision, revision)
				}
				revision = event.Kv.ModRevision
				name := strings.TrimPrefix(string(event.Kv.Key), e.prefix)
				seen = append(seen, fmt.Sprintf("%s %s=%s", event.Type, name, event.Kv.Value))
			}
		case <-e.Done():
			e.failf("only %v came", seen)
		}
	}
	return strings.Join(seen, " ")
}
