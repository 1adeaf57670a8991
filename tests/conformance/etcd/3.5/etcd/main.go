// Command etcd is the real server, built from the published module so that its replace
// directives do not matter.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
