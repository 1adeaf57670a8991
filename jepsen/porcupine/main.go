// Judges logs of registers, as Jepsen writes them, with porcupine: the verdicts that our own search for
// an order is compared with. Prints one line for each file: its verdict, a tab, and its name.
//
// Source of the lines' form: Jepsen's log of operations (jepsen.util/log-op): process, what the line
// tells, the operation, and its value, with tabs between.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// absent is the content of a register that was never written.
const absent = -1

// limit is how long one log may take.
const limit = 2 * time.Minute

type input struct {
	name     string
	from, to int
}

type output struct {
	known   bool
	swapped bool
	value   int
}

var register = porcupine.Model{
	Init: func() interface{} { return absent },
	Step: func(state, in, out interface{}) (bool, interface{}) {
		content, asked, told := state.(int), in.(input), out.(output)
		switch asked.name {
		case "read":
			return !told.known || told.value == content, content
		case "write":
			return true, asked.to
		}
		fits := content == asked.from
		if told.known && told.swapped != fits {
			return false, content
		}
		if fits {
			return true, asked.to
		}
		return true, content
	},
}

func number(text string) (int, error) {
	if text == "nil" {
		return absent, nil
	}
	return strconv.Atoi(text)
}

// ask reads the value of an invocation.
func ask(name, value string) (input, error) {
	asked := input{name: name}
	var err error
	switch name {
	case "write":
		asked.to, err = number(value)
	case "cas":
		_, err = fmt.Sscanf(value, "[%d %d]", &asked.from, &asked.to)
	}
	return asked, err
}

// tell reads the value of a return.
func tell(name, kind, value string) (output, error) {
	if strings.HasPrefix(value, ":") {
		return output{}, nil // it took too long, and nobody knows
	}
	told := output{known: true, swapped: kind == ":ok"}
	var err error
	if name == "read" {
		told.value, err = number(value)
	}
	return told, err
}

func read(path string) ([]porcupine.Event, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var events []porcupine.Event
	open := map[int]int{}
	next := 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		_, line, found := strings.Cut(lines.Text(), "jepsen.util - ")
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if !found || len(fields) != 4 {
			continue
		}
		process, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, err
		}
		kind, name, value := fields[1], strings.TrimPrefix(fields[2], ":"), fields[3]
		switch kind {
		case ":invoke":
			asked, err := ask(name, value)
			if err != nil {
				return nil, err
			}
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.CallEvent, Value: asked, Id: next})
			open[process] = next
			next++
		case ":ok", ":fail":
			told, err := tell(name, kind, value)
			if err != nil {
				return nil, err
			}
			if !told.known && name != "read" {
				continue // it may happen yet
			}
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Value: told, Id: open[process]})
			delete(open, process)
		}
	}
	// What was not over at the end is over after everything else, with an unknown result.
	for process, id := range open {
		events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Value: output{}, Id: id})
	}
	return events, lines.Err()
}

func main() {
	for _, path := range os.Args[1:] {
		events, err := read(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s cannot be read: %v\n", path, err)
			os.Exit(1)
		}
		fmt.Printf("%s\t%s\n", porcupine.CheckEventsTimeout(register, events, limit), path)
	}
}
