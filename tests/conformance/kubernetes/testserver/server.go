// Package testserver takes the place of the package of this name that the storage tests of Kubernetes
// use: it connects them to a cluster that runs, named by ENDPOINTS, where theirs starts etcd inside the
// test. Each test begins with no keys.
package testserver

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// NewTestConfig returns settings that only matter to an embedded server.
func NewTestConfig(testing.TB) *embed.Config { return embed.NewConfig() }

// RunEtcd returns a client of the cluster, which it empties.
func RunEtcd(t testing.TB, _ *embed.Config) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(clientv3.Config{
		Endpoints:   strings.Split(os.Getenv("ENDPOINTS"), ","),
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(context.Background(), "\x00", clientv3.WithFromKey()); err != nil {
		t.Fatal(err)
	}
	client.KV = storagetesting.NewKVRecorder(client.KV)
	client.Kubernetes = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	return client
}
