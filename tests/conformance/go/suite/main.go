// Command suite checks what Go programs expect of etcd through its official client: the key space,
// watches, leases, the recipes of the concurrency packages, the layers that the client brings, and
// the contract that Kubernetes builds on. It prints one line for each check: ok or FAIL.
//
//	suite -endpoints http://127.0.0.1:2379,… [-only substring]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// check is one thing that must hold. It may use any key below e.prefix.
type check struct {
	name string
	run  func(e *env)
}

// env is what a check works with.
type env struct {
	context.Context
	endpoints []string
	client    *clientv3.Client
	prefix    string
}

// failure is how a check that does not hold ends.
type failure struct{ text string }

func (e *env) failf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// must ends the check unless err is nil.
func (e *env) must(err error) {
	if err != nil {
		e.failf("%v", err)
	}
}

// equal ends the check unless both print the same.
func (e *env) equal(what string, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		e.failf("%s: got %s, want %s", what, g, w)
	}
}

// fails ends the check unless err prints as want.
func (e *env) fails(err error, want error) {
	if err == nil || err.Error() != want.Error() {
		e.failf("got error %v, want %v", err, want)
	}
}

func (e *env) put(key, value string, opts ...clientv3.OpOption) *clientv3.PutResponse {
	response, err := e.client.Put(e, key, value, opts...)
	e.must(err)
	return response
}

func (e *env) get(key string, opts ...clientv3.OpOption) *clientv3.GetResponse {
	response, err := e.client.Get(e, key, opts...)
	e.must(err)
	return response
}

// another connects once more, as another program would.
func (e *env) another() *clientv3.Client {
	client, err := connect(e.endpoints)
	e.must(err)
	return client
}

func connect(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
}

// keys lists the keys of a response.
func keys(response *clientv3.GetResponse) []string {
	names := []string{}
	for _, kv := range response.Kvs {
		names = append(names, string(kv.Key))
	}
	return names
}

func main() {
	endpoints := flag.String("endpoints", "", "client URLs, separated by commas")
	only := flag.String("only", "", "run only the checks whose name contains this")
	flag.Parse()
	failed := 0
	for number, check := range all() {
		if !strings.Contains(check.name, *only) {
			continue
		}
		if text := run(check, number, strings.Split(*endpoints, ",")); text != "" {
			failed++
			fmt.Printf("FAIL %s: %s\n", check.name, text)
		} else {
			fmt.Printf("ok %s\n", check.name)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func all() []check {
	var checks []check
	for _, part := range [][]check{kvChecks, txnChecks, watchChecks, leaseChecks, concurrencyChecks,
		recipeChecks, layerChecks, kubernetesChecks, serverChecks, authChecks} {
		checks = append(checks, part...)
	}
	return checks
}

// run says why a check failed, or nothing.
func run(check check, number int, endpoints []string) (text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	client, err := connect(endpoints)
	if err != nil {
		return err.Error()
	}
	defer client.Close()
	defer func() {
		if problem := recover(); problem != nil {
			failed, expected := problem.(failure)
			if !expected {
				panic(problem)
			}
			text = failed.text
		}
	}()
	check.run(&env{Context: ctx, endpoints: endpoints, client: client, prefix: fmt.Sprintf("check%02d/", number)})
	return ""
}
