// Starts etcd; the module's own main lives in a repository that the module proxy does not carry.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
