package main

import (
	"fmt"
	"os"
	"sort"
)

// verdict prints a check's line.
func verdict(what string, problems []string) bool {
	if len(problems) == 0 {
		fmt.Println("ok watch-load:", what)
		return true
	}
	fmt.Printf("FAIL watch-load: %s: %d times, first: %s\n", what, len(problems), problems[0])
	return false
}

// judge compares what the watches were told with the history.
func judge(all []*watch, h *history) {
	truth, invented := complete(all, h)
	unfinished, disorder, doubles, gaps := []string{}, []string{}, []string{}, []string{}
	told, missed, opened := 0, 0, 0
	for _, w := range all {
		if !w.ended() {
			unfinished = append(unfinished, w.name)
		}
		for _, problem := range w.problems {
			disorder = append(disorder, w.name+": "+problem)
		}
		seen := map[event]bool{}
		for _, one := range w.events {
			if seen[one] {
				doubles = append(doubles, fmt.Sprintf("%s: %v", w.name, one))
			}
			seen[one] = true
		}
		for _, one := range truth {
			if w.covers(one.key) && one.revision >= w.start && !seen[one] && !w.toldMissed(one.revision) {
				gaps = append(gaps, fmt.Sprintf("%s: %v", w.name, one))
			}
		}
		told += len(w.events)
		missed += len(w.missed)
		opened += w.opened
	}
	fmt.Printf("# %d watches were told %d events of a history of %d; %d writes without an answer; "+
		"%d times history was compacted before it was told\n", len(all), told, len(truth), h.lost, missed)
	good := verdict("every watch saw the end", unfinished)
	good = verdict("nothing out of order, in parts or behind a bookmark", disorder) && good
	good = verdict("no duplicate", doubles) && good
	good = verdict("no gap", gaps) && good
	good = verdict("nothing that was not written", invented) && good
	if !good {
		os.Exit(1)
	}
}

func (w *watch) toldMissed(revision int64) bool {
	for _, span := range w.missed {
		if revision >= span[0] && revision <= span[1] {
			return true
		}
	}
	return false
}

// complete returns all that happened: what was acknowledged, and what any watch was told of the
// writes that had no answer. What nobody wrote is returned apart.
func complete(all []*watch, h *history) (truth []event, invented []string) {
	events := map[event]bool{}
	for one := range h.known {
		events[one] = true
	}
	for _, w := range all {
		for _, one := range w.events {
			if events[one] {
				continue
			}
			if !h.maybe[event{key: one.key, value: one.value}] {
				invented = append(invented, fmt.Sprintf("%s: %v", w.name, one))
				continue
			}
			events[one] = true
		}
	}
	for one := range events {
		truth = append(truth, one)
	}
	sort.Slice(truth, func(i, j int) bool { return truth[i].revision < truth[j].revision })
	return truth, invented
}
