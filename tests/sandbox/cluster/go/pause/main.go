// SPDX-FileCopyrightText: 2026 The phase.console authors
// SPDX-License-Identifier: GPL-3.0-or-later

// What holds a pod's namespaces open while its containers come and go: it does nothing until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
