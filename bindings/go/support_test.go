package railbus_test

// The common parts of the tests: a bus in a directory of its own, programs of this same test binary that
// play other processes, and TestMain, which selects the role of such a process.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"railbus"
)

// patience is how long a test waits for something that must come.
const patience = 20 * time.Second

// roles are the roles that another process of this binary can play, by name.
var roles = map[string]func(arguments []string) error{}

func TestMain(m *testing.M) {
	role := os.Getenv("RAILBUS_TEST_ROLE")
	if role == "" {
		os.Exit(inDirectory(m.Run))
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inDirectory runs with a directory for buses that no other program uses, and removes it.
func inDirectory(run func() int) int {
	// Leftovers of earlier runs that ended in a panic or were killed.
	left, _ := filepath.Glob("/dev/shm/railbus-go-*")
	for _, directory := range left {
		pid := strings.TrimPrefix(directory, "/dev/shm/railbus-go-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			os.RemoveAll(directory)
		}
	}
	directory := fmt.Sprintf("/dev/shm/railbus-go-%d", os.Getpid())
	if err := os.Mkdir(directory, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a directory for the tests:", err)
		return 1
	}
	defer os.RemoveAll(directory)
	os.Setenv("RAILBUS_DIR", directory)
	return run()
}

// must fails the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newBus is a bus of the test's own.
func newBus(t testing.TB) *railbus.Bus {
	t.Helper()
	bus := must(railbus.Open(busName(t)))(t)
	t.Cleanup(func() { bus.Close() })
	return bus
}

// busName is the name of the test's own bus, which is removed at its end.
func busName(t testing.TB) string {
	name := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
	t.Cleanup(func() { os.RemoveAll(filepath.Join(os.Getenv("RAILBUS_DIR"), name)) })
	return name
}

// newChannel is a channel of the test's own.
func newChannel(t testing.TB, options railbus.ChannelOptions) *railbus.Channel {
	t.Helper()
	bus := newBus(t)
	channel := must(bus.Create("channel", options))(t)
	t.Cleanup(func() {
		channel.Close()
		bus.Remove("channel")
	})
	return channel
}

// pair is a stream or topic with a publisher and a subscriber.
func pair(
	t testing.TB, options railbus.ChannelOptions, reading railbus.SubscriberOptions,
) (*railbus.Publisher, *railbus.Subscriber) {
	t.Helper()
	channel := newChannel(t, options)
	subscriber := must(channel.Subscriber(reading))(t)
	t.Cleanup(func() { subscriber.Close() })
	publisher := must(channel.Publisher(railbus.SenderOptions{}))(t)
	t.Cleanup(func() { publisher.Close() })
	return publisher, subscriber
}

// soon is a context that ends when a test has waited long enough.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// spawn runs a function in a goroutine of the group.
func spawn(group *sync.WaitGroup, run func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		run()
	}()
}

// process is another process of this binary.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
}

// start starts a process that plays a role; it is killed at the end of the test at the latest.
func start(t testing.TB, role string, arguments ...string) *process {
	t.Helper()
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append(os.Environ(), "RAILBUS_TEST_ROLE="+role)
	command.Stderr = os.Stderr
	output := must(command.StdoutPipe())(t)
	check(t, command.Start())
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	return &process{command, bufio.NewScanner(output)}
}

// says waits for a line.
func (process *process) says(t testing.TB, wanted string) {
	t.Helper()
	if !process.lines.Scan() || process.lines.Text() != wanted {
		t.Fatalf("the other process said %q, wanted %q", process.lines.Text(), wanted)
	}
}

// kill kills with SIGKILL and waits for the end.
func (process *process) kill(t testing.TB) {
	t.Helper()
	check(t, process.Process.Kill())
	process.Wait()
}
