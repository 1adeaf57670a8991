package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

var concurrencyChecks = []check{
	{"concurrency: a session ends with its lease", func(e *env) {
		session := e.session()
		_, err := e.client.Revoke(e, session.Lease())
		e.must(err)
		select {
		case <-session.Done():
		case <-e.Done():
			e.failf("the session did not notice")
		}
	}},
	{"concurrency: a mutex excludes", mutexExcludes},
	{"concurrency: try-lock of a held mutex says so", func(e *env) {
		one, other := e.session(), e.session()
		e.must(concurrency.NewMutex(one, e.prefix).Lock(e))
		e.fails(concurrency.NewMutex(other, e.prefix).TryLock(e), concurrency.ErrLocked)
	}},
	{"concurrency: a lost session gives the mutex to the next", func(e *env) {
		one, other := e.session(), e.session()
		e.must(concurrency.NewMutex(one, e.prefix).Lock(e))
		next := concurrency.NewMutex(other, e.prefix)
		locked := make(chan error, 1)
		go func() { locked <- next.Lock(e) }()
		time.Sleep(300 * time.Millisecond)
		one.Close()
		e.must(<-locked)
		e.must(next.Unlock(e))
	}},
	{"concurrency: being the owner is a condition of a transaction", func(e *env) {
		mutex := concurrency.NewMutex(e.session(), e.prefix+"m")
		e.must(mutex.Lock(e))
		guarded := func() bool {
			response, err := e.client.Txn(e).If(mutex.IsOwner()).Then(clientv3.OpPut(e.prefix+"a", "1")).Commit()
			e.must(err)
			return response.Succeeded
		}
		e.equal("owner", guarded(), true)
		e.must(mutex.Unlock(e))
		e.equal("no longer", guarded(), false)
	}},
	{"concurrency: giving up waiting leaves nothing", func(e *env) {
		e.must(concurrency.NewMutex(e.session(), e.prefix).Lock(e))
		short, cancel := context.WithTimeout(e, 300*time.Millisecond)
		defer cancel()
		e.equal("locked", concurrency.NewMutex(e.session(), e.prefix).Lock(short) == nil, false)
		e.equal("keys", e.get(e.prefix, clientv3.WithPrefix()).Count, 1)
	}},
	{"concurrency: election, proclaim, resign", election},
	{"concurrency: observers see each leader", func(e *env) {
		one, other := concurrency.NewElection(e.session(), e.prefix), concurrency.NewElection(e.session(), e.prefix)
		seen := one.Observe(e)
		e.must(one.Campaign(e, "one"))
		e.equal("leader", string((<-seen).Kvs[0].Value), "one")
		e.must(one.Proclaim(e, "one again"))
		e.equal("leader", string((<-seen).Kvs[0].Value), "one again")
		e.must(one.Resign(e))
		e.must(other.Campaign(e, "other"))
		e.equal("leader", string((<-seen).Kvs[0].Value), "other")
	}},
	{"concurrency: software transactional memory, serializable", func(e *env) { transfers(e, concurrency.SerializableSnapshot) }},
	{"concurrency: software transactional memory, repeatable", func(e *env) { transfers(e, concurrency.Serializable) }},
}

func (e *env) session() *concurrency.Session {
	session, err := concurrency.NewSession(e.client, concurrency.WithTTL(10), concurrency.WithContext(e))
	e.must(err)
	return session
}

func mutexExcludes(e *env) {
	inside, rounds := 0, 0
	var workers sync.WaitGroup
	errors := make(chan error, 8)
	for range 4 {
		session := e.session()
		workers.Add(1)
		go func() {
			defer workers.Done()
			mutex := concurrency.NewMutex(session, e.prefix)
			for range 5 {
				if err := mutex.Lock(e); err != nil {
					errors <- err
					return
				}
				inside++
				if inside != 1 {
					errors <- fmt.Errorf("%d inside at once", inside)
				}
				rounds++
				inside--
				if err := mutex.Unlock(e); err != nil {
					errors <- err
					return
				}
			}
		}()
	}
	workers.Wait()
	select {
	case err := <-errors:
		e.must(err)
	default:
	}
	e.equal("rounds", rounds, 20)
}

func election(e *env) {
	one, other := concurrency.NewElection(e.session(), e.prefix), concurrency.NewElection(e.session(), e.prefix)
	_, err := one.Leader(e)
	e.fails(err, concurrency.ErrElectionNoLeader)
	e.must(one.Campaign(e, "one"))
	won := make(chan error, 1)
	go func() { won <- other.Campaign(e, "other") }()
	time.Sleep(200 * time.Millisecond)
	leader, err := other.Leader(e)
	e.must(err)
	e.equal("leader", string(leader.Kvs[0].Value), "one")
	e.must(one.Proclaim(e, "still one"))
	e.must(one.Resign(e))
	e.must(<-won)
	leader, err = one.Leader(e)
	e.must(err)
	e.equal("leader", string(leader.Kvs[0].Value), "other")
	e.fails(one.Proclaim(e, "too late"), concurrency.ErrElectionNotLeader)
}

// transfers moves amounts between accounts from several goroutines; the sum must stay. The package
// reads at the first read's revision from whatever member answers, which one that lags refuses: so
// all go to one member.
func transfers(e *env, isolation concurrency.Isolation) {
	client, err := connect(e.endpoints[:1])
	e.must(err)
	defer client.Close()
	account := func(i int) string { return fmt.Sprint(e.prefix, i%5) }
	for i := range 5 {
		e.put(account(i), "100")
	}
	var workers sync.WaitGroup
	errors := make(chan error, 4)
	for worker := range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for round := range 8 {
				move := func(stm concurrency.STM) error {
					from, to := account(worker+round), account(worker+round+1)
					left, _ := strconv.Atoi(stm.Get(from))
					right, _ := strconv.Atoi(stm.Get(to))
					stm.Put(from, strconv.Itoa(left-1))
					stm.Put(to, strconv.Itoa(right+1))
					return nil
				}
				if _, err := concurrency.NewSTM(client, move, concurrency.WithIsolation(isolation),
					concurrency.WithAbortContext(e)); err != nil {
					errors <- err
					return
				}
			}
		}()
	}
	workers.Wait()
	select {
	case err := <-errors:
		e.must(err)
	default:
	}
	sum := 0
	for _, kv := range e.get(e.prefix, clientv3.WithPrefix()).Kvs {
		value, _ := strconv.Atoi(string(kv.Value))
		sum += value
	}
	e.equal("sum", sum, 500)
}
