package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/peerdex/peerdex/index/volume"
)

// patience is how long a script waits for what takes a moment, such as a connection.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"peerdex": main})
}

// TestScripts runs the scripts in testdata/script: the real command, with real daemons that speak over loopback.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: workRoot(t),
		Setup:       setupScript,
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Getuid() == 0, nil
			case "bind":
				return canBind()
			}
			return false, errors.New("unknown condition " + cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "waitfor": cmdWaitFor, "on": cmdOn, "transcript": cmdTranscript, "badname": cmdBadName, "bind": cmdBind, "orphans": cmdOrphans,
		},
	})
}

// workRoot is a folder for the scripts that every user can enter, with a short name, since sockets go there.
func workRoot(t *testing.T) string {
	dir, err := os.MkdirTemp("", "pdx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// setupScript gives a script a home of its own, and ends at its end every daemon it started there.
func setupScript(e *testscript.Env) error {
	e.Vars = append(e.Vars, "PEERDEX_REACH=loopback", "TERM=dumb", "HOME="+filepath.Join(e.WorkDir, "home"),
		"XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "XDG_RUNTIME_DIR="+filepath.Join(e.WorkDir, "run"),
		"README="+absolute("../../README.md"), "TZ=UTC", "GORACE=atexit_sleep_ms=0")
	e.Defer(func() { checkLogs(e) }) // the deferred run in reverse order
	e.Defer(func() { endDaemons(e.WorkDir) })
	return os.MkdirAll(filepath.Join(e.WorkDir, "run"), 0o700)
}

// checkLogs fails a script one of whose daemons logged what must never happen.
func checkLogs(e *testscript.Env) {
	bad := regexp.MustCompile(`WARNING: DATA RACE|(?m)^panic: |request panicked|^fatal error: `)
	_ = filepath.WalkDir(e.WorkDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "log") {
			return nil
		}
		b, err := os.ReadFile(path)
		if at := bad.FindIndex(b); err == nil && at != nil {
			e.T().Fatal(path + ":\n" + string(b[at[0]:min(len(b), at[0]+4000)]))
		}
		return nil
	})
}

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}

// endDaemons ends whatever process holds the lock of a data folder below dir. The lock file names it.
func endDaemons(dir string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "lock" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || !isOurs(pid) {
			return nil
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			return nil
		}
		_ = p.Kill()
		for alive(pid) {
			time.Sleep(pollEvery)
		}
		return nil
	})
}

// isOurs reports whether a process is a daemon of these tests and not one that has got its number since.
func isOurs(pid int) bool {
	cmd, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(cmd), "peerdex\x00serve") && alive(pid)
}

// cmdExits runs a command that must exit with a code: exits CODE COMMAND ARG…
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitOf(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func exitOf(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// cmdWaitFor runs a command again and again until its output matches: waitfor REGEXP COMMAND ARG…. With "file" as the
// command it reads a file instead.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] waitfor REGEXP COMMAND ARG…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pollEvery) {
		if args[1] == "file" {
			b, _ := os.ReadFile(ts.MkAbs(args[2]))
			got = string(b)
		} else {
			cmd := exec.Command(args[1], args[2:]...)
			cmd.Env, cmd.Dir = scriptEnv(ts), ts.MkAbs(".")
			out, _ := cmd.CombinedOutput()
			got = string(out)
		}
		if re.MatchString(got) != neg {
			return
		}
	}
	ts.Fatalf("after %v still:\n%s", patience, got)
}

// scriptEnv is the environment of the script's commands, as far as they need it.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, k := range []string{
		"PATH", "HOME", "TMPDIR", "TERM", "TZ", "XDG_RUNTIME_DIR", "PEERDEX_DIR", "PEERDEX_REACH", "PEERDEX_TICKET", "GOCOVERDIR", "GORACE",
	} {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// cmdOn makes the following commands those of one device, which has a data folder of its own: on NAME
func cmdOn(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: on NAME")
	}
	ts.Setenv("PEERDEX_DIR", filepath.Join(ts.Getenv("WORK"), "dev", args[0]))
}

// cmdBadName makes a file whose name is not valid UTF-8, and one with a line break: badname FOLDER
func cmdBadName(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range []string{"caf\xe9.txt", "two\nlines.txt"} {
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), name), []byte("x"), 0o600))
	}
}

// cmdBind makes a folder appear at another path, too, until the end of the script: bind FOLDER AT
func cmdBind(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bind FOLDER AT")
	}
	at := ts.MkAbs(args[1])
	unbind, err := bind(ts.MkAbs(args[0]), at)
	ts.Check(err)
	ts.Defer(func() { ts.Check(unbind()) })
}

func bind(folder, at string) (unbind func() error, err error) {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	return func() error { return exec.Command("umount", "-l", at).Run() }, exec.Command("mount", "--bind", folder, at).Run()
}

// canBind reports whether folders can be mounted here, and the filesystem has a name to know them by.
func canBind() (bool, error) {
	dir, err := os.MkdirTemp("", "pdx")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	p, err := volume.Of(dir)
	if err != nil || p.IsZero() {
		return false, err
	}
	unbind, err := bind(dir, filepath.Join(dir, "at"))
	if err != nil {
		return false, nil
	}
	return true, unbind()
}

// cmdOrphans fails when a daemon that was started for a folder below the given one runs: orphans FOLDER
func cmdOrphans(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		var left []string
		procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
		ts.Check(err)
		for _, p := range procs {
			b, err := os.ReadFile(p)
			if err == nil && strings.Contains(string(b), "serve\x00") && strings.Contains(string(b), dir) {
				left = append(left, strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("still running: %q", left)
		}
	}
}
