// Command conformance plays the roles of conformance/PROTOCOL.md in Go.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// errUsage is for a call that makes no sense: exit code 2.
var errUsage = errors.New("usage")

// arguments are the KEY=VALUE of the command line.
type arguments map[string]string

func (arguments arguments) number(key string, otherwise uint64) uint64 {
	text, given := arguments[key]
	if !given {
		return otherwise
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s=%s: not a number\n", key, text)
		os.Exit(2)
	}
	return value
}

func (arguments arguments) flag(key string) bool { return arguments.number(key, 0) != 0 }

func (arguments arguments) text(key, otherwise string) string {
	if text, given := arguments[key]; given {
		return text
	}
	return otherwise
}

var input = bufio.NewReader(os.Stdin)

// say writes a line at once.
func say(format string, parts ...any) { fmt.Printf(format+"\n", parts...) }

func waitForLine() { input.ReadString('\n') }

func waitForEnd() { io.Copy(io.Discard, input) }

type role struct {
	keys string
	play func(arguments) error
}

var roles = map[string]role{
	"create":    {"kind capacity slots slot_bytes stamp max_attempts overflow first_position", playCreate},
	"publish":   {"events sizes start seed mode batch hold_claim attributes wait", playPublish},
	"subscribe": {"events mode batch stride name durable lossy manual acknowledge until_closed start slow_us attributes", playSubscribe},
	"work":      {"events mode batch name until_closed slow_us attributes retry refuse hold", playWork},
	"attach":    {"as await_ms", playAttach},
	"inspect":   {"", playInspect},
	"churn":     {"opens events", playChurn},
	"replay":    {"journal mode batch type_ids", playReplay},
	"set":       {"keys rounds sizes mode delete busy", playSet},
	"read":      {"keys mode", playRead},
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "conformance ROLE KEY=VALUE...; see conformance/PROTOCOL.md")
		os.Exit(2)
	}
	var err error
	if os.Args[1] == "probe" {
		err = playProbes(os.Args[2:])
	} else {
		err = play(os.Args[1], os.Args[2:])
	}
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		say("failed %s %s", symbol(err), strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func play(name string, words []string) error {
	role, known := roles[name]
	if !known {
		return fmt.Errorf("%w: unknown role %q", errUsage, name)
	}
	given := arguments{}
	for _, word := range words {
		key, value, paired := strings.Cut(word, "=")
		known := strings.Fields("bus channel " + role.keys)
		if !paired || !contains(known, key) {
			return fmt.Errorf("%w: %q is not one of %v", errUsage, word, known)
		}
		given[key] = value
	}
	return role.play(given)
}

func contains(words []string, wanted string) bool {
	for _, word := range words {
		if word == wanted {
			return true
		}
	}
	return false
}
