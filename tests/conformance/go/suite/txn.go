package main

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var txnChecks = []check{
	{"txn: every compare target and result", everyCompare},
	{"txn: all in one revision", func(e *env) {
		before := e.get(e.prefix).Header.Revision
		response, err := e.client.Txn(e).Then(clientv3.OpPut(e.prefix+"a", "1"), clientv3.OpPut(e.prefix+"b", "2"),
			clientv3.OpGet(e.prefix, clientv3.WithPrefix()), clientv3.OpDelete(e.prefix+"c")).Commit()
		e.must(err)
		e.equal("one revision", response.Header.Revision, before+1)
		seen := response.Responses[2].GetResponseRange()
		e.equal("it reads its own writes", len(seen.Kvs), 2)
		e.equal("under its revision", seen.Kvs[0].ModRevision, before+1)
	}},
	{"txn: a reading one makes no revision", func(e *env) {
		before := e.put(e.prefix+"a", "1").Header.Revision
		response, err := e.client.Txn(e).Then(clientv3.OpGet(e.prefix + "a")).Commit()
		e.must(err)
		e.equal("revision", response.Header.Revision, before)
	}},
	{"txn: nested", func(e *env) {
		inner := clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Value(e.prefix+"a"), "=", "1")},
			[]clientv3.Op{clientv3.OpPut(e.prefix+"b", "then")}, []clientv3.Op{clientv3.OpPut(e.prefix+"b", "else")})
		response, err := e.client.Txn(e).Then(clientv3.OpPut(e.prefix+"a", "1"), inner).Commit()
		e.must(err)
		// Compares are all made before anything is written.
		e.equal("inner", response.Responses[1].GetResponseTxn().Succeeded, false)
		e.equal("value", string(e.get(e.prefix + "b").Kvs[0].Value), "else")
	}},
	{"txn: compare over a range", func(e *env) {
		e.put(e.prefix+"a", "x")
		e.put(e.prefix+"b", "x")
		same := clientv3.Compare(clientv3.Value(e.prefix), "=", "x").WithPrefix()
		response, err := e.client.Txn(e).If(same).Commit()
		e.must(err)
		e.equal("all equal", response.Succeeded, true)
		e.put(e.prefix+"b", "y")
		response, err = e.client.Txn(e).If(same).Commit()
		e.must(err)
		e.equal("one differs", response.Succeeded, false)
	}},
	{"txn: a key may be put only once", func(e *env) {
		put := clientv3.OpPut(e.prefix+"a", "1")
		_, err := e.client.Txn(e).Then(put, put).Commit()
		e.fails(err, rpctypes.ErrDuplicateKey)
		_, err = e.client.Txn(e).Then(put, clientv3.OpDelete(e.prefix, clientv3.WithPrefix())).Commit()
		e.fails(err, rpctypes.ErrDuplicateKey)
		_, err = e.client.Txn(e).Then(put, clientv3.OpTxn(nil, []clientv3.Op{put}, nil)).Commit()
		e.fails(err, rpctypes.ErrDuplicateKey)
		_, err = e.client.Txn(e).Then(clientv3.OpTxn(nil, []clientv3.Op{put}, []clientv3.Op{put})).Commit()
		e.must(err)
	}},
	{"txn: at most 128 operations", func(e *env) {
		ops := []clientv3.Op{}
		for i := range 129 {
			ops = append(ops, clientv3.OpPut(fmt.Sprint(e.prefix, i), ""))
		}
		_, err := e.client.Txn(e).Then(ops...).Commit()
		e.fails(err, rpctypes.ErrTooManyOps)
		_, err = e.client.Txn(e).Then(ops[:128]...).Commit()
		e.must(err)
	}},
	{"txn: a failing operation leaves nothing behind", func(e *env) {
		_, err := e.client.Txn(e).Then(clientv3.OpPut(e.prefix+"a", "1"),
			clientv3.OpPut(e.prefix+"b", "1", clientv3.WithLease(0x1234567))).Commit()
		e.fails(err, rpctypes.ErrLeaseNotFound)
		e.equal("keys", e.get(e.prefix, clientv3.WithPrefix()).Count, 0)
	}},
	{"txn: reads of a compacted revision are refused", func(e *env) {
		old := e.put(e.prefix+"a", "1").Header.Revision
		now := e.put(e.prefix+"a", "2").Header.Revision
		_, err := e.client.Compact(e, now)
		e.must(err)
		_, err = e.client.Txn(e).Then(clientv3.OpGet(e.prefix+"a", clientv3.WithRev(old))).Commit()
		e.fails(err, rpctypes.ErrCompacted)
	}},
}

func everyCompare(e *env) {
	lease, err := e.client.Grant(e, 60)
	e.must(err)
	e.put(e.prefix+"a", "m")
	e.put(e.prefix+"a", "m", clientv3.WithLease(lease.ID))
	kv := e.get(e.prefix + "a").Kvs[0]
	key := e.prefix + "a"
	for _, target := range []struct {
		cmp              clientv3.Cmp
		less, same, more any
	}{
		{clientv3.Value(key), "a", "m", "z"},
		{clientv3.Version(key), 1, 2, 3},
		{clientv3.CreateRevision(key), int(kv.CreateRevision - 1), int(kv.CreateRevision), int(kv.CreateRevision + 1)},
		{clientv3.ModRevision(key), int(kv.ModRevision - 1), int(kv.ModRevision), int(kv.ModRevision + 1)},
		{clientv3.LeaseValue(key), lease.ID - 1, lease.ID, lease.ID + 1},
	} {
		for _, test := range []struct {
			result string
			value  any
			want   bool
		}{
			{"=", target.same, true}, {"=", target.less, false}, {"!=", target.same, false}, {"!=", target.more, true},
			{">", target.less, true}, {">", target.same, false}, {"<", target.more, true}, {"<", target.same, false},
		} {
			response, err := e.client.Txn(e).If(clientv3.Compare(target.cmp, test.result, test.value)).Commit()
			e.must(err)
			e.equal(fmt.Sprint(target.cmp.Target, test.result, test.value), response.Succeeded, test.want)
		}
	}
}
