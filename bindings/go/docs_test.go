package railbus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program of docs/GO.md compiles, in a module of its own that finds this package as the page
// says, and runs.
func TestTheProgramOfTheGuideRuns(t *testing.T) {
	guide := string(must(os.ReadFile("../../docs/GO.md"))(t))
	var programs []string
	for _, part := range strings.Split(guide, "```go\n")[1:] {
		program, _, ended := strings.Cut(part, "```")
		if !ended {
			t.Fatal("a program of the guide does not end")
		}
		programs = append(programs, program)
	}
	if len(programs) != 1 {
		t.Fatalf("the guide has %d programs", len(programs))
	}
	here := must(os.Getwd())(t)
	directory := t.TempDir()
	t.Cleanup(func() { os.RemoveAll(filepath.Join(os.Getenv("RAILBUS_DIR"), "demo")) })
	check(t, os.WriteFile(filepath.Join(directory, "main.go"), []byte(programs[0]), 0o644))
	for _, command := range []string{
		"go mod init guide",
		"go mod edit -require=railbus@v0.1.0 -replace=railbus@v0.1.0=" + here,
		"go build -o guide .",
		"./guide",
	} {
		words := strings.Fields(command)
		running := exec.Command(words[0], words[1:]...)
		running.Dir = directory
		output, err := running.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
		if words[0] == "./guide" && string(output) != "hello at position 0\n" {
			t.Errorf("the guide's program says %q", output)
		}
	}
}
