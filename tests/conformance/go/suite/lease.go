package main

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var leaseChecks = []check{
	{"lease: its keys go in one revision when it is revoked", func(e *env) {
		lease := e.lease(60)
		first := e.put(e.prefix+"a", "1", clientv3.WithLease(lease)).Header.Revision
		e.put(e.prefix+"b", "2", clientv3.WithLease(lease))
		_, err := e.client.Revoke(e, lease)
		e.must(err)
		e.equal("keys", e.get(e.prefix, clientv3.WithPrefix()).Count, 0)
		e.oneRevision(e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithRev(first+2)))
	}},
	{"lease: its keys go in one revision when it expires", func(e *env) {
		lease := e.lease(2)
		first := e.put(e.prefix+"a", "1", clientv3.WithLease(lease)).Header.Revision
		e.put(e.prefix+"b", "2", clientv3.WithLease(lease))
		e.oneRevision(e.client.Watch(e, e.prefix, clientv3.WithPrefix(), clientv3.WithRev(first+2)))
		left, err := e.client.TimeToLive(e, lease)
		e.must(err)
		e.equal("time to live of an expired one", left.TTL, -1)
	}},
	{"lease: own ids, refused when taken", func(e *env) {
		id := time.Now().UnixNano()
		api := clientv3.RetryLeaseClient(e.client)
		request := &pb.LeaseGrantRequest{ID: id, TTL: 60}
		granted, err := api.LeaseGrant(e, request)
		e.must(err)
		e.equal("id", granted.ID, id)
		_, err = api.LeaseGrant(e, request)
		e.fails(rpctypes.Error(err), rpctypes.ErrLeaseExist)
	}},
	{"lease: time to live tells the keys", func(e *env) {
		lease := e.lease(100)
		e.put(e.prefix+"a", "1", clientv3.WithLease(lease))
		left, err := e.client.TimeToLive(e, lease, clientv3.WithAttachedKeys())
		e.must(err)
		e.equal("granted", left.GrantedTTL, 100)
		e.equal("left", left.TTL > 90 && left.TTL <= 100, true)
		e.equal("keys", fmt.Sprintf("%s", left.Keys), "["+e.prefix+"a]")
	}},
	{"lease: a list of all", func(e *env) {
		lease := e.lease(100)
		leases, err := e.client.Leases(e)
		e.must(err)
		for _, other := range leases.Leases {
			if other.ID == lease {
				return
			}
		}
		e.failf("lease %x is not in the list of %d", lease, len(leases.Leases))
	}},
	{"lease: kept alive it lives on", func(e *env) {
		lease := e.lease(2)
		e.put(e.prefix+"a", "1", clientv3.WithLease(lease))
		answers, err := e.client.KeepAlive(e, lease)
		e.must(err)
		for deadline := time.After(6 * time.Second); ; {
			select {
			case answer := <-answers:
				if answer == nil {
					e.failf("the lease was lost")
				}
				e.equal("time to live", answer.TTL, 2)
				continue
			case <-deadline:
			}
			break
		}
		e.equal("key", e.get(e.prefix+"a").Count, 1)
	}},
	{"lease: keeping alive an unknown one is refused", func(e *env) {
		_, err := e.client.KeepAliveOnce(e, 0x1234567)
		e.fails(err, rpctypes.ErrLeaseNotFound)
		_, err = e.client.Revoke(e, 0x1234567)
		e.fails(err, rpctypes.ErrLeaseNotFound)
		_, err = e.client.Put(e, e.prefix+"a", "1", clientv3.WithLease(0x1234567))
		e.fails(err, rpctypes.ErrLeaseNotFound)
	}},
	{"lease: a put without it takes the key away from it", func(e *env) {
		lease := e.lease(60)
		e.put(e.prefix+"a", "1", clientv3.WithLease(lease))
		e.put(e.prefix+"a", "2")
		_, err := e.client.Revoke(e, lease)
		e.must(err)
		e.equal("key", e.get(e.prefix+"a").Count, 1)
	}},
	{"lease: a key moves from one to another", func(e *env) {
		first, second := e.lease(60), e.lease(60)
		e.put(e.prefix+"a", "1", clientv3.WithLease(first))
		e.put(e.prefix+"a", "2", clientv3.WithLease(second))
		_, err := e.client.Revoke(e, first)
		e.must(err)
		e.equal("key", e.get(e.prefix+"a").Count, 1)
		_, err = e.client.Revoke(e, second)
		e.must(err)
		e.equal("key", e.get(e.prefix+"a").Count, 0)
	}},
	{"lease: too long a time is refused", func(e *env) {
		_, err := e.client.Grant(e, 9_000_000_001)
		e.fails(err, rpctypes.ErrLeaseTTLTooLarge)
	}},
}

func (e *env) lease(seconds int64) clientv3.LeaseID {
	lease, err := e.client.Grant(e, seconds)
	e.must(err)
	return lease.ID
}

// oneRevision ends the check unless the next two events are deletes of one revision.
func (e *env) oneRevision(events clientv3.WatchChan) {
	select {
	case response := <-events:
		e.must(response.Err())
		e.equal("events", len(response.Events), 2)
		first, second := response.Events[0], response.Events[1]
		e.equal("types", fmt.Sprint(first.Type, second.Type), "DELETE DELETE")
		e.equal("revisions", first.Kv.ModRevision, second.Kv.ModRevision)
	case <-e.Done():
		e.failf("the keys did not go")
	}
}
