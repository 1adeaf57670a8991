package main

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys are w/GROUP/NUMBER.
const (
	groups       = 20
	keysInGroup  = 10
	writers      = 4
	endOfHistory = "end"
)

func group(i int) string  { return fmt.Sprintf("w/%02d/", i%groups) }
func key(i, j int) string { return fmt.Sprintf("%s%d", group(i), j%keysInGroup) }

// event is one change of one key. A deletion has no value.
type event struct {
	revision   int64
	key, value string
}

// history is what was written: what was acknowledged, and what may have been done although no answer
// came.
type history struct {
	mutex  sync.Mutex
	known  map[event]bool
	maybe  map[event]bool // without revisions
	newest int64
	lost   int
}

func newHistory() *history {
	return &history{known: map[event]bool{}, maybe: map[event]bool{}}
}

// begin returns the revision of the first write.
func (h *history) begin(client *clientv3.Client) int64 {
	response, err := client.Put(context.Background(), "w/begin", "")
	if err != nil {
		fatal(err)
	}
	h.add(event{response.Header.Revision, "w/begin", ""})
	return response.Header.Revision
}

func (h *history) add(events ...event) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for _, one := range events {
		h.known[one] = true
		h.newest = max(h.newest, one.revision)
	}
}

func (h *history) last() int64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.newest
}

// write starts the writers.
func (h *history) write(ctx context.Context, client *clientv3.Client) *sync.WaitGroup {
	var work sync.WaitGroup
	for writer := range writers {
		work.Add(1)
		go func() {
			defer work.Done()
			random := rand.New(rand.NewSource(int64(writer)))
			for number := 0; ctx.Err() == nil; number++ {
				h.transaction(client, random, fmt.Sprintf("%d-%d", writer, number))
				time.Sleep(30 * time.Millisecond)
			}
		}()
	}
	return &work
}

// transaction puts one or two keys and sometimes deletes a third, all in one revision.
func (h *history) transaction(client *clientv3.Client, random *rand.Rand, value string) {
	chosen := random.Perm(groups * keysInGroup)
	events := []event{}
	ops := []clientv3.Op{}
	for _, i := range chosen[:1+random.Intn(2)] {
		name := key(i, i/groups)
		events = append(events, event{key: name, value: value})
		ops = append(ops, clientv3.OpPut(name, value))
	}
	if random.Intn(3) == 0 {
		name := key(chosen[5], chosen[5]/groups)
		events = append(events, event{key: name})
		ops = append(ops, clientv3.OpDelete(name))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	response, err := client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.lost++
		for _, one := range events {
			h.maybe[one] = true
		}
		return
	}
	for i := range events {
		events[i].revision = response.Header.Revision
		deleted := response.Responses[i].GetResponseDeleteRange()
		if deleted == nil || deleted.Deleted > 0 {
			h.add(events[i])
		}
	}
}

// mark writes a last value into every key that is watched.
func (h *history) mark(client *clientv3.Client) {
	for i := range groups {
		ops := []clientv3.Op{}
		for j := range keysInGroup {
			ops = append(ops, clientv3.OpPut(key(i, j), endOfHistory))
		}
		var response *clientv3.TxnResponse
		var err error
		for range 60 {
			if response, err = client.Txn(context.Background()).Then(ops...).Commit(); err == nil {
				break
			}
			// It may have been done all the same.
			h.mutex.Lock()
			for j := range keysInGroup {
				h.maybe[event{key: key(i, j), value: endOfHistory}] = true
			}
			h.mutex.Unlock()
			time.Sleep(500 * time.Millisecond)
		}
		if err != nil {
			fatal(err)
		}
		for j := range keysInGroup {
			h.add(event{response.Header.Revision, key(i, j), endOfHistory})
		}
	}
}
