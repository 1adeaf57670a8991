// Package kubernetes_test names what run.sh builds, so that the module requires it.
package kubernetes_test

import (
	_ "k8s.io/apiserver/pkg/storage/etcd3"
	_ "k8s.io/apiserver/pkg/storage/testing"
)
