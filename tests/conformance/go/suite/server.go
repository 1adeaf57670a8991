package main

import (
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var serverChecks = []check{
	{"cluster: three members with their URLs", func(e *env) {
		members, err := e.client.MemberList(e)
		e.must(err)
		e.equal("members", len(members.Members), 3)
		for _, member := range members.Members {
			e.equal("complete", member.Name != "" && len(member.PeerURLs) == 1 && len(member.ClientURLs) == 1, true)
		}
	}},
	{"cluster: endpoints learned from the members", func(e *env) {
		client, err := connect(e.endpoints[:1])
		e.must(err)
		defer client.Close()
		e.must(client.Sync(e))
		e.equal("endpoints", len(client.Endpoints()), 3)
	}},
	{"cluster: a learner comes and goes", func(e *env) {
		added, err := e.client.MemberAddAsLearner(e, []string{"http://127.0.0.1:2"})
		for i := 0; err != nil && i < 20; i++ { // refused while a member is not yet known to be healthy
			time.Sleep(500 * time.Millisecond)
			added, err = e.client.MemberAddAsLearner(e, []string{"http://127.0.0.1:2"})
		}
		e.must(err)
		e.equal("learner", added.Member.IsLearner, true)
		_, err = e.client.MemberPromote(e, added.Member.ID)
		e.fails(err, rpctypes.ErrMemberLearnerNotReady)
		_, err = e.client.MemberUpdate(e, added.Member.ID, []string{"http://127.0.0.1:3"})
		e.must(err)
		removed, err := e.client.MemberRemove(e, added.Member.ID)
		e.must(err)
		e.equal("members", len(removed.Members), 3)
		_, err = e.client.MemberRemove(e, added.Member.ID)
		e.fails(err, rpctypes.ErrMemberNotFound)
	}},
	{"maintenance: status of each member", func(e *env) {
		leaders := map[uint64]bool{}
		for _, endpoint := range e.endpoints {
			status, err := e.client.Status(e, endpoint)
			e.must(err)
			leaders[status.Leader] = true
			e.equal("indexes", status.RaftIndex >= status.RaftAppliedIndex && status.RaftTerm > 0, true)
		}
		e.equal("one leader", len(leaders), 1)
	}},
	{"maintenance: hashes agree", func(e *env) {
		revision := e.put(e.prefix+"a", "1").Header.Revision
		hashes := map[uint32]bool{}
		for _, endpoint := range e.endpoints {
			var hash *clientv3.HashKVResponse
			var err error
			for range 20 { // a member may not have applied the revision yet
				if hash, err = e.client.HashKV(e, endpoint, revision); err == nil {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			e.must(err)
			hashes[hash.Hash] = true
		}
		e.equal("hashes", len(hashes), 1)
	}},
	{"maintenance: defragment and alarms", func(e *env) {
		_, err := e.client.Defragment(e, e.endpoints[0])
		e.must(err)
		alarms, err := e.client.AlarmList(e)
		e.must(err)
		e.equal("alarms", len(alarms.Alarms), 0)
		_, err = e.client.AlarmDisarm(e, &clientv3.AlarmMember{})
		e.must(err)
	}},
	{"maintenance: snapshot stream", func(e *env) {
		stream, err := e.client.SnapshotWithVersion(e)
		e.must(err)
		size, err := io.Copy(io.Discard, stream.Snapshot)
		e.must(err)
		e.equal("size", size > 32, true)
	}},
	{"maintenance: moving the leader", func(e *env) {
		status, err := e.client.Status(e, e.endpoints[0])
		e.must(err)
		members, err := e.client.MemberList(e)
		e.must(err)
		var leader, target *pb.Member
		for _, member := range members.Members {
			if member.ID == status.Leader {
				leader = member
			} else {
				target = member
			}
		}
		client, err := connect(target.ClientURLs)
		e.must(err)
		defer client.Close()
		_, err = client.MoveLeader(e, target.ID)
		e.fails(err, rpctypes.ErrNotLeader)
		client, err = connect(leader.ClientURLs)
		e.must(err)
		defer client.Close()
		_, err = client.MoveLeader(e, target.ID)
		e.must(err)
		for range 100 {
			status, err = e.client.Status(e, e.endpoints[0])
			if err == nil && status.Leader == target.ID {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		e.failf("the leader is %x, not %x", status.Leader, target.ID)
	}},
	{"maintenance: downgrade is validated", func(e *env) {
		_, err := e.client.Downgrade(e, clientv3.DowngradeValidate, "3.0.0")
		e.equal("error", fmt.Sprint(err), "etcdserver: invalid downgrade target version")
	}},
}
