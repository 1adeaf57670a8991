// Command transcript runs a list of command lines against a cluster and writes down what each
// printed, or compares two such records.
//
//	transcript run COMMANDS >RECORD        with etcdctl, ENDPOINTS and LEADER in the environment
//	transcript compare A B EXPECTED VERSION
//
// A list has one shell command a line. A line that begins with @ tells how to treat the next
// command: `@capture NAME PATTERN` keeps the pattern's first group in the environment for later
// commands, `@sort` sorts the lines of its output, `@wait DURATION` waits before it, `@retry`
// repeats it for a while until it succeeds, `@silent` leaves it out of the record.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "transcript:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "run":
		return record(args[1])
	case len(args) == 5 && args[0] == "compare":
		return compare(args[1], args[2], args[3], args[4])
	default:
		return fmt.Errorf("use: transcript run COMMANDS, or transcript compare A B EXPECTED VERSION")
	}
}

// directives say how one command is to be treated.
type directives struct {
	sort, retry, silent bool
	wait                time.Duration
	name                string
	pattern             *regexp.Regexp
}

func (d *directives) read(line string) error {
	word, rest, _ := strings.Cut(strings.TrimPrefix(line, "@"), " ")
	var err error
	switch word {
	case "sort":
		d.sort = true
	case "retry":
		d.retry = true
	case "silent":
		d.silent = true
	case "wait":
		d.wait, err = time.ParseDuration(rest)
	case "capture":
		name, pattern, _ := strings.Cut(rest, " ")
		d.name = name
		d.pattern, err = regexp.Compile(pattern)
	default:
		err = fmt.Errorf("unknown directive %q", line)
	}
	return err
}

func record(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var next directives
	captured := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "@"):
			if err := next.read(line); err != nil {
				return err
			}
		default:
			output, err := perform(line, next, captured)
			if err != nil {
				return err
			}
			if !next.silent {
				fmt.Printf("$ %s\n%s", line, output)
			}
			next = directives{}
		}
	}
	return lines.Err()
}

func perform(line string, d directives, captured map[string]string) (string, error) {
	time.Sleep(d.wait)
	raw, code := execute(line, captured)
	for deadline := time.Now().Add(15 * time.Second); d.retry && code != 0 && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
		raw, code = execute(line, captured)
	}
	output := normalise(raw, captured)
	if d.pattern != nil {
		group := d.pattern.FindStringSubmatch(raw)
		if len(group) < 2 {
			output += fmt.Sprintf("no %s in this output\n", d.name)
		} else {
			captured[d.name] = group[1]
			output = normalise(raw, captured)
		}
	}
	if d.sort {
		lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")
		sort.Strings(lines)
		output = strings.Join(lines, "\n") + "\n"
	}
	if code != 0 {
		output += fmt.Sprintf("exit %d\n", code)
	}
	return output, nil
}

func execute(line string, captured map[string]string) (string, int) {
	command := exec.Command("bash", "-c", line)
	command.Env = os.Environ()
	for name, value := range captured {
		command.Env = append(command.Env, name+"="+value)
	}
	output, _ := command.CombinedOutput()
	text := string(output)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, command.ProcessState.ExitCode()
}

// replacements hide what differs between any two runs of one server.
var replacements = []struct {
	pattern *regexp.Regexp
	with    string
}{
	// The client's own log lines of what it will repeat.
	{regexp.MustCompile(`(?m)^\{"level":"(warn|info)".*\n`), ""},
	{regexp.MustCompile(`(?m)^[0-9TZ:./ -]+(INFO|WARN|DEBUG)\b.*\n`), ""},
	{regexp.MustCompile(`(?m)^(INFO|WARN|WARNING): .*\n`), ""},
	// Where the client panicked.
	{regexp.MustCompile(`(?s)\ngoroutine \d+ \[.*`), "\n"},
	{regexp.MustCompile(`"(cluster_id|member_id|raft_term|leader|raftTerm|ID|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse|dbSizeQuota|hash|id|memberID)":"?[0-9]+"?`), `"$1":<n>`},
	{regexp.MustCompile(`"(ClusterID|MemberID|RaftTerm|Leader|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|DBSizeQuota|Hash|TTL)" : [0-9]+`), `"$1" : <n>`},
	{regexp.MustCompile(`"(ID|LeaseID|Lease)" : "?[1-9][0-9a-f]*"?`), `"$1" : <id>`},
	{regexp.MustCompile(`(lease/|"lease":|lease )[0-9]{15,}`), `$1<id>`},
	{regexp.MustCompile(`"(version|storageVersion|Version|StorageVersion)"( ?: ?)"3\.[0-9]+\.[0-9]+"`), `"$1"$2"<version>"`},
	{regexp.MustCompile(`remaining\([0-9]+s\)`), "remaining(<s>)"},
	{regexp.MustCompile(`"ttl":[0-9]+`), `"ttl":<s>`},
	{regexp.MustCompile(`took( =|) [0-9.]+[mµn]?s`), "took <time>"},
	{regexp.MustCompile(`[0-9.]+ (kB|MB|GB|B)\b`), "<size>"},
	{regexp.MustCompile(`\(?[0-9.]+(m|µ)s\)?`), "<time>"},
	{regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`), "<url>"},
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "<address>"},
	{regexp.MustCompile(`/tmp/[^ ]+/`), "<dir>/"},
	{regexp.MustCompile(`\b[0-9a-f]{14,16}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9]{17,20}\b`), "<id>"},
}

// An id of fewer digits is padded with blanks.
var padded = regexp.MustCompile(`Member +<`)

func normalise(text string, captured map[string]string) string {
	for name, value := range captured {
		if len(value) < 6 {
			continue
		}
		text = strings.ReplaceAll(text, value, "<"+name+">")
		if number, err := strconv.ParseUint(value, 16, 64); err == nil {
			text = strings.ReplaceAll(text, strconv.FormatUint(number, 10), "<"+name+">")
		}
	}
	for _, replacement := range replacements {
		text = replacement.pattern.ReplaceAllString(text, replacement.with)
	}
	return padded.ReplaceAllString(text, "Member <")
}
