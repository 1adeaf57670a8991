package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// start does harm until ctx ends: every few seconds the leader is killed, or another member restarted,
// and history is compacted all along. When the harm is over every member runs.
func start(ctx context.Context, endpoints []string, client *clientv3.Client) *sync.WaitGroup {
	var work sync.WaitGroup
	work.Add(2)
	go func() {
		defer work.Done()
		for turn := 0; pause(ctx, 6*time.Second); turn++ {
			leader := leaderOf(endpoints, client)
			victim, what := leader, "killed the leader"
			if turn%3 == 2 {
				victim, what = (leader+1)%len(endpoints), "killed a follower"
			}
			fmt.Printf("# %s, member %d\n", what, victim+1)
			command("kill", fmt.Sprint(victim+1))
			pause(ctx, 2*time.Second)
			command("restart", fmt.Sprint(victim+1))
		}
	}()
	go func() {
		defer work.Done()
		count := 0
		for pause(ctx, 2*time.Second) {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			if got, err := client.Get(short, "w/begin"); err == nil {
				if _, err = client.Compact(short, max(1, got.Header.Revision-400)); err == nil {
					count++
				}
			}
			cancel()
		}
		fmt.Printf("# compacted %d times\n", count)
	}()
	return &work
}

// pause says whether to go on.
func pause(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}

// leaderOf returns the position of the member that leads.
func leaderOf(endpoints []string, client *clientv3.Client) int {
	for range 100 {
		for i, endpoint := range endpoints {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := client.Status(ctx, endpoint)
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				return i
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0
}
