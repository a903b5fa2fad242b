package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdTranscript runs the console blocks of a Markdown file as they stand, and compares what is on the screen with
// what the file shows: transcript FILE. A line "nas$ COMMAND" is typed at a terminal of the device nas, whose home is
// $WORK/nas; the lines up to the next one are what must be seen there. Only what changes from run to run (times, ids,
// tickets) may differ. An invite stays open, and what it prints in the end is compared after the join.
func cmdTranscript(ts *testscript.TestScript, _ bool, args []string) {
	md, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	run := &transcript{ts: ts, homes: map[string]string{}}
	steps := parseTranscript(string(md))
	if len(steps) == 0 {
		ts.Fatalf("no console block with a command in %s", args[0])
	}
	ts.Check(ageFiles(ts.Getenv("WORK")))
	for _, s := range steps {
		ts.Logf("%s$ %s", s.device, s.command)
		run.step(s)
	}
}

// ageFiles gives all files the time that the transcript shows.
func ageFiles(dir string) error {
	then := time.Date(2019, 7, 3, 12, 0, 0, 0, time.UTC)
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, then, then))
	})
}

// transcriptStep is one command and what it must print.
type transcriptStep struct{ device, command, want string }

var promptLine = regexp.MustCompile(`^([a-z]+)\$ (.*)$`)

func parseTranscript(md string) (steps []transcriptStep) {
	inside := false
	for line := range strings.Lines(md) {
		line = strings.TrimRight(line, "\n")
		switch m := promptLine.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside && m != nil:
			steps = append(steps, transcriptStep{device: m[1], command: m[2]})
		case inside && len(steps) > 0:
			steps[len(steps)-1].want += line + "\n"
		}
	}
	return steps
}

type transcript struct {
	ts      *testscript.TestScript
	homes   map[string]string
	ticket  string
	waiting *session // the open invite
	invite  transcriptStep
}

func (r *transcript) step(s transcriptStep) {
	home := filepath.Join(r.ts.Getenv("WORK"), s.device)
	r.homes[s.device] = home
	command := s.command
	for device, home := range r.homes {
		command = strings.ReplaceAll(command, device+":/home/ana", device+":"+home)
	}
	se := r.open(home, command)
	switch {
	case strings.HasPrefix(s.command, "peerdex invite"):
		r.waiting, r.invite = se, s
		r.ticket = se.waitFor(`PDX\S{20,}`)
		return
	case strings.HasPrefix(s.command, "peerdex join"):
		se.waitFor(`Ticket \(it is not shown\):`)
		se.typeLine(r.ticket)
		se.end()
		r.waiting.end()
		r.compare(r.invite, r.waiting)
	default:
		se.end()
	}
	r.compare(s, se)
	if s.command == "peerdex down" {
		r.waitUnseen(s.device)
	}
}

// waitUnseen waits until the other devices have noticed that one is gone.
func (r *transcript) waitUnseen(device string) {
	for name, home := range r.homes {
		for end := time.Now().Add(patience); name != device; time.Sleep(pollEvery) {
			se := r.open(home, "peerdex devices")
			se.end()
			if regexp.MustCompile(device + ` .*offline`).MatchString(se.seen()) {
				break
			}
			if time.Now().After(end) {
				r.ts.Fatalf("%s still sees %s:\n%s", name, device, se.seen())
			}
		}
	}
}

func (r *transcript) compare(s transcriptStep, se *session) {
	want, got := r.stable(s.want), r.stable(se.seen())
	if strings.HasPrefix(s.command, "peerdex find") { // the order of devices is that of their keys
		slices.Sort(want)
		slices.Sort(got)
	}
	if d := cmp.Diff(want, got); d != "" {
		r.ts.Fatalf("%s$ %s\nseen:\n%s\n(-README +seen):\n%s", s.device, s.command, se.seen(), d)
	}
}

// stable takes out of a text what differs from run to run, and how columns are padded.
func (r *transcript) stable(s string) []string {
	for _, home := range r.homes {
		s = strings.ReplaceAll(s, home, "/home/ana")
	}
	for _, v := range []struct{ re, with string }{
		{`\x1b\[[0-9;]*m`, ""},
		{`PDX\S+`, "TICKET"},
		{`\b[A-Z2-7]{4}-[A-Z2-7]{4}\b`, "ID"},
		{`\b(now|\d+ min ago|\d+ h ago( \(\d\d:\d\d\))?)(\W|$)`, "AGE$3"},
		{`\b\d+(\.\d+)? (ms|s)\b`, "TIME"},
		{`until \d\d:\d\d`, "until TIME"},
		{`pid \d+, version \S+, `, ""},
		{`memory \d+ MB`, "memory SIZE"},
		{`/ip4/127\.0\.0\.1/tcp/\d+(/p2p/\w+)?`, "ADDRESS"},
		{`/ip4/192\.168\.\d+\.\d+/tcp/\d+(/p2p/\w+)?`, "ADDRESS"},
	} {
		s = regexp.MustCompile(v.re).ReplaceAllString(s, v.with)
	}
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// session is a command at a terminal.
type session struct {
	ts   *testscript.TestScript
	cmd  *exec.Cmd
	pty  *os.File
	out  chan []byte
	text bytes.Buffer
}

func (r *transcript) open(home, command string) *session {
	pty, tty, err := openTerminal()
	r.ts.Check(err)
	runtime := filepath.Join(home, ".run")
	r.ts.Check(os.MkdirAll(runtime, 0o700))
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = home
	cmd.Env = []string{
		"PATH=" + r.ts.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + runtime, "TERM=dumb", "TZ=UTC", "PEERDEX_REACH=loopback",
		"TMPDIR=" + r.ts.Getenv("TMPDIR"), "GOCOVERDIR=" + r.ts.Getenv("GOCOVERDIR"), "GORACE=" + r.ts.Getenv("GORACE"),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	r.ts.Check(cmd.Start())
	_ = tty.Close()
	s := &session{ts: r.ts, cmd: cmd, pty: pty, out: make(chan []byte)}
	go func() {
		defer close(s.out)
		for {
			b := make([]byte, 4096)
			n, err := pty.Read(b)
			if n > 0 {
				s.out <- b[:n]
			}
			if err != nil {
				return // EIO: the last process at the terminal has ended
			}
		}
	}()
	return s
}

// waitFor reads until a line has what is looked for, and returns that.
func (s *session) waitFor(pattern string) string {
	re := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		if m := re.FindString(s.text.String()); m != "" {
			return m
		}
		select {
		case b, ok := <-s.out:
			if !ok {
				s.ts.Fatalf("%s ended without %q:\n%s", s.cmd, pattern, s.seen())
			}
			s.text.Write(b)
		case <-limit:
			s.ts.Fatalf("%s: no %q after %v:\n%s", s.cmd, pattern, patience, s.seen())
		}
	}
}

func (s *session) typeLine(text string) {
	_, err := s.pty.WriteString(text + "\r")
	s.ts.Check(err)
}

// end reads the rest, and waits until the command has ended.
func (s *session) end() {
	limit := time.After(2 * patience)
	for {
		select {
		case b, ok := <-s.out:
			if !ok {
				_ = s.cmd.Wait() // the exit code is not what a transcript shows
				_ = s.pty.Close()
				return
			}
			s.text.Write(b)
		case <-limit:
			_ = s.cmd.Process.Kill()
			s.ts.Fatalf("%s does not end:\n%s", s.cmd, s.seen())
		}
	}
}

func (s *session) seen() string { return strings.ReplaceAll(s.text.String(), "\r\n", "\n") }

// openTerminal makes a pair of pseudo-terminals of 120 columns.
func openTerminal() (control, terminal *os.File, err error) {
	control, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("number of the terminal: %w", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		return nil, nil, fmt.Errorf("size of the terminal: %w", err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return control, terminal, nil
}
