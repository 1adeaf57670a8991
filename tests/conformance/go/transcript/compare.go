package main

import (
	"fmt"
	"os"
	"strings"
)

// stanza is a command and what it printed.
type stanza struct{ command, output string }

func readRecord(path string) ([]stanza, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []stanza
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if command, found := strings.CutPrefix(line, "$ "); found {
			all = append(all, stanza{command: strings.TrimSpace(command)})
		} else if len(all) > 0 {
			all[len(all)-1].output += line
		}
	}
	return all, nil
}

// difference is one that was looked at and has a reason.
type difference struct {
	versions, command, reason string
}

func (d *difference) covers(version, command string) bool {
	return (d.versions == "*" || strings.Contains(d.versions, version)) && d.command == command
}

// readExpected reads lines of `versions | command | reason`, with * for all versions.
func readExpected(path string) ([]difference, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []difference
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		versions, rest, _ := strings.Cut(line, " ; ")
		command, reason, found := strings.Cut(rest, " ; ")
		if !found {
			return nil, fmt.Errorf("%s: %q is not `versions ; command ; reason`", path, line)
		}
		all = append(all, difference{versions: versions, command: command, reason: reason})
	}
	return all, nil
}

// compare prints one line for each command: ok, or FAIL with both outputs, or expected.
func compare(left, right, expectedPath, version string) error {
	a, err := readRecord(left)
	if err != nil {
		return err
	}
	b, err := readRecord(right)
	if err != nil {
		return err
	}
	expected, err := readExpected(expectedPath)
	if err != nil {
		return err
	}
	if len(a) != len(b) {
		return fmt.Errorf("%s has %d commands, %s has %d", left, len(a), right, len(b))
	}
	for i := range a {
		report(i+1, a[i], b[i], expected, version)
	}
	return nil
}

func report(number int, a, b stanza, expected []difference, version string) {
	name := fmt.Sprintf("%03d %s", number, a.command)
	if a == b {
		fmt.Printf("ok %s\n", name)
		return
	}
	for i := range expected {
		if expected[i].covers(version, a.command) {
			fmt.Printf("ok %s (differs as expected: %s)\n", name, expected[i].reason)
			return
		}
	}
	fmt.Printf("FAIL %s\n--- first\n%s--- second\n%s---\n", name, a.output, b.output)
}
