// Command watchload holds many watches while keys are written, history is compacted, members are
// restarted and leaders killed, and compares what each watch told with what was written: no gap, no
// duplicate, nothing out of order, no revision in two parts, no event after a bookmark that is past it.
//
//	watchload -cluster DIR -control cluster.sh [-seconds 60] [-streams 100] [-watches 10]
//
// It prints one line for each check, ok or FAIL, and lines with # that say what happened.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

var (
	cluster = flag.String("cluster", "", "directory of the cluster")
	control = flag.String("control", "", "path of cluster.sh")
	seconds = flag.Int("seconds", 60, "how long to write and to do harm")
	streams = flag.Int("streams", 100, "clients, each with one stream")
	watches = flag.Int("watches", 10, "watches on each stream")
)

// command runs cluster.sh for the cluster.
func command(action string, more ...string) string {
	output, err := exec.Command(*control, append([]string{action, *cluster}, more...)...).Output()
	if err != nil {
		fatal(fmt.Errorf("%s: %w", action, err))
	}
	return strings.TrimSpace(string(output))
}

func fatal(err error) {
	fmt.Println("FAIL watch-load:", err)
	os.Exit(1)
}

// connect returns a client whose first endpoint differs from one number to the next.
func connect(endpoints []string, number int) *clientv3.Client {
	turn := number % len(endpoints)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   append(append([]string{}, endpoints[turn:]...), endpoints[:turn]...),
		DialTimeout: 5 * time.Second, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		Logger: zap.NewNop(),
	})
	if err != nil {
		fatal(err)
	}
	return client
}

func main() {
	flag.Parse()
	endpoints := strings.Split(command("endpoints"), ",")
	clients := make([]*clientv3.Client, *streams)
	for i := range clients {
		clients[i] = connect(endpoints, i)
		defer clients[i].Close()
	}
	history := newHistory()
	writer := connect(endpoints, 0)
	defer writer.Close()
	first := history.begin(writer)
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup
	all := []*watch{}
	open := func(from, to int, start int64) {
		for i := from; i < to; i++ {
			for j := range *watches {
				one := newWatch(i, j, start)
				all = append(all, one)
				running.Add(1)
				go func() {
					defer running.Done()
					one.run(watching, clients[i])
				}()
			}
		}
	}
	late := *streams * 4 / 5
	open(0, late, first)
	load, finish := context.WithTimeout(context.Background(), time.Duration(*seconds)*time.Second)
	defer finish()
	work := history.write(load, writer)
	harm := start(load, endpoints, writer)
	time.Sleep(time.Duration(*seconds) * time.Second / 4)
	open(late, *streams, max(first, history.last()-100)) // these have something to catch up with
	<-load.Done()
	work.Wait()
	harm.Wait()
	history.mark(writer)
	waitFor(all, 90*time.Second)
	stop()
	running.Wait()
	judge(all, history)
}

// waitFor waits until every watch saw the mark that ends its keys.
func waitFor(all []*watch, patience time.Duration) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		left := 0
		for _, one := range all {
			if !one.ended() {
				left++
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
