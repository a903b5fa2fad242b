package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/adrg/xdg"

	"github.com/peerdex/peerdex/node/api"
)

// maxSocketPath is the longest path a unix socket may have, in bytes: systems allow 103 (macOS) or 107 (Linux).
const maxSocketPath = 100

// paths says where this user's peerdex keeps what.
type paths struct {
	Config string `json:"config"` // file
	Data   string `json:"data"`   // folder
	Log    string `json:"log"`    // file
	Socket string `json:"socket"`

	// sockets are the places where the daemon may listen, best first. There can be two, since the runtime folder
	// comes and goes with the user's session while the daemon stays. Socket is the one in use, or the first.
	sockets []string
}

// findPaths returns the paths below dir, or those of the XDG base directories when dir is "".
func findPaths(dir string) (paths, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return paths{}, fmt.Errorf("find %s: %w", dir, err)
		}
		p := paths{
			Config: filepath.Join(abs, "config.toml"), Data: filepath.Join(abs, "data"),
			Log: filepath.Join(abs, "log", "peerdex.log"),
		}
		p.setSockets(filepath.Join(abs, "run", "peerdex.sock"))
		return p, nil
	}
	state := filepath.Join(xdg.StateHome, "peerdex")
	p := paths{
		Config: filepath.Join(xdg.ConfigHome, "peerdex", "config.toml"), Data: filepath.Join(state, "data"),
		Log: filepath.Join(state, "log", "peerdex.log"),
	}
	// One runtime folder may serve several data folders, one for each XDG_STATE_HOME.
	inRuntime := ""
	if isDir(xdg.RuntimeDir) {
		inRuntime = filepath.Join(xdg.RuntimeDir, "peerdex", "peerdex-"+shortHash(p.Data)+".sock")
	}
	p.setSockets(inRuntime)
	return p, nil
}

// setSockets sets the places of the socket: first, if it is short enough to be one, and a short one of this user in
// the folder for temporary files.
func (p *paths) setSockets(first string) {
	if first != "" && len(first) <= maxSocketPath {
		p.sockets = append(p.sockets, first)
	}
	own := filepath.Join("peerdex-"+strconv.Itoa(os.Getuid()), shortHash(p.Data)+".sock")
	for _, tmp := range []string{os.TempDir(), "/tmp"} {
		if s := filepath.Join(tmp, own); len(s) <= maxSocketPath && (len(p.sockets) == 0 || p.sockets[len(p.sockets)-1] != s) {
			p.sockets = append(p.sockets, s)
			break
		}
	}
	p.Socket = p.sockets[0]
	for _, s := range p.sockets {
		if _, err := os.Lstat(s); err == nil {
			p.Socket = s
			return
		}
	}
}

// shortHash names a path in 16 hex digits. A path that exists is named by what it is behind symlinks.
func shortHash(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// makePrivate makes a folder that only this user can enter, or checks that it is one.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		return nil
	} else if !os.IsExist(err) {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if !fi.IsDir() || !ownedByUs(fi) {
		return &api.Error{Code: api.CodeFailed, Title: dir + " is not a folder of yours",
			Detail: "the daemon's socket must lie where nobody else can put one", Hint: "look at it and remove it, or use --dir"}
	}
	if fi.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("close %s to others: %w", dir, err)
		}
	}
	return nil
}
