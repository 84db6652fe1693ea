// Command speed measures this package, each figure beside its limit in the same run:
//
//	speed calls        single calls, and batches, of one goroutine, beside a call of C that does nothing
//	speed roundtrip    two processes answer each other, beside two goroutines that do so by Go channels
//	speed rate         one process publishes, another receives, beside a Go channel between two goroutines
//
// Everything is measured in blocks that are shorter than a time slice of the scheduler, and the table
// shows the fastest and the middle one: on a machine that others use, the fastest is the cost of the
// code.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(measured()) }

// measured returns the exit code.
func measured() int {
	what := map[string]func() error{"calls": calls, "roundtrip": roundTrip, "rate": rate, "peer": peer}
	asked := "calls"
	if _, given := os.LookupEnv("RAILBUS_DIR"); !given {
		directory, err := os.MkdirTemp("/dev/shm", "railbus-speed-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "speed:", err)
			return 1
		}
		defer os.RemoveAll(directory)
		os.Setenv("RAILBUS_DIR", directory)
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
		go func() {
			<-interrupted
			os.RemoveAll(directory)
			os.Exit(130)
		}()
	}
	if len(os.Args) > 1 {
		asked = os.Args[1]
	}
	run, known := what[asked]
	if !known {
		fmt.Fprintln(os.Stderr, "speed: calls, roundtrip or rate, not", asked)
		return 2
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		return 1
	}
	return 0
}
