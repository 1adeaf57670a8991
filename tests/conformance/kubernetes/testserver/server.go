// Package testserver takes the place of the package of this name that the storage tests of Kubernetes
// use: it connects them to a cluster that runs, named by ENDPOINTS, where theirs starts etcd inside the
// test. Each client has a key space of its own. All ask the first member: some tests read what another
// client wrote without asking for a linearizable read.
package testserver

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// NewTestConfig returns settings that only matter to an embedded server.
func NewTestConfig(testing.TB) *embed.Config { return embed.NewConfig() }

// RunEtcd returns a client of the cluster.
func RunEtcd(t testing.TB, _ *embed.Config) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(clientv3.Config{
		Endpoints:   strings.Split(os.Getenv("ENDPOINTS"), ",")[:1],
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("%s/%d", t.Name(), time.Now().UnixNano())
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
	client.Lease = namespace.NewLease(client.Lease, prefix)
	client.KV = storagetesting.NewKVRecorder(namespace.NewKV(client.KV, prefix))
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	return client
}
