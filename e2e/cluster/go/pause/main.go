// Pause holds a pod's namespaces open: it does nothing until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	// As the first process of a pod that shares its process namespace, it reaps the orphans.
	signal.Ignore(syscall.SIGCHLD)
	<-ended
}
