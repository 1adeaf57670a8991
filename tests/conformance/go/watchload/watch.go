package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// watch is one watch and what it was told.
type watch struct {
	name  string
	key   string
	all   bool // of what begins with the key
	start int64

	mutex    sync.Mutex
	events   []event
	problems []string
	// Revisions that it was told it missed because they were compacted.
	missed [][2]int64
	ends   int
	marks  int
	opened int
}

func newWatch(stream, number int, start int64) *watch {
	w := &watch{name: fmt.Sprintf("stream %d watch %d", stream, number), start: start}
	switch {
	case number == 0:
		w.key, w.all, w.ends = "w/", true, groups*keysInGroup
	case number < 6:
		w.key, w.all, w.ends = group(stream+number), true, keysInGroup
	default:
		w.key, w.ends = key(stream, stream/groups+number), 1
	}
	return w
}

// covers tells whether the watch is of this key.
func (w *watch) covers(key string) bool {
	return key == w.key || w.all && strings.HasPrefix(key, w.key)
}

func (w *watch) ended() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.marks >= w.ends
}

// run watches until ctx ends, and begins again where it is told that history was compacted.
func (w *watch) run(ctx context.Context, client *clientv3.Client) {
	revision := w.start
	for ctx.Err() == nil {
		w.mutex.Lock()
		w.opened++
		w.mutex.Unlock()
		options := []clientv3.OpOption{clientv3.WithRev(revision), clientv3.WithProgressNotify()}
		if w.all {
			options = append(options, clientv3.WithPrefix())
		}
		for response := range client.Watch(ctx, w.key, options...) {
			if response.CompactRevision > 0 {
				w.mutex.Lock()
				w.missed = append(w.missed, [2]int64{revision, response.CompactRevision - 1})
				w.mutex.Unlock()
				revision = response.CompactRevision
				break
			}
			if err := response.Err(); err != nil {
				break
			}
			revision = w.take(response, revision)
		}
		if ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// take notes a response; `next` is the first revision that may come.
func (w *watch) take(response clientv3.WatchResponse, next int64) int64 {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if response.IsProgressNotify() {
		return max(next, response.Header.Revision+1)
	}
	for _, one := range response.Events {
		// A revision that continues in a second response, one that was told before, and one that a
		// bookmark had passed are all seen here.
		if one.Kv.ModRevision < next {
			w.problems = append(w.problems, fmt.Sprintf("revision %d of %s came when %d was next", one.Kv.ModRevision, one.Kv.Key, next))
		}
		w.events = append(w.events, event{one.Kv.ModRevision, string(one.Kv.Key), string(one.Kv.Value)})
		if string(one.Kv.Value) == endOfHistory {
			w.marks++
		}
	}
	for i := 1; i < len(response.Events); i++ {
		a, b := response.Events[i-1].Kv, response.Events[i].Kv
		if b.ModRevision < a.ModRevision || b.ModRevision == a.ModRevision && string(a.Key) == string(b.Key) {
			w.problems = append(w.problems, fmt.Sprintf("%s of revision %d came after %s of %d", b.Key, b.ModRevision, a.Key, a.ModRevision))
		}
	}
	if count := len(response.Events); count > 0 {
		next = response.Events[count-1].Kv.ModRevision + 1
	}
	return next
}
