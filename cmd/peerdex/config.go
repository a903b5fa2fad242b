package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/peerdex/peerdex/node/api"
)

// fileConfig is config.toml. Every field is optional.
type fileConfig struct {
	Name      string   `toml:"name"`       // of this device, used when it is created
	Reach     string   `toml:"reach"`      // "lan" or "loopback"
	Listen    []string `toml:"listen"`     // multiaddrs; none = chosen by reach
	Peers     []string `toml:"peers"`      // addresses that are always tried: /ip4/../tcp/../p2p/..
	ScanEvery duration `toml:"scan_every"` // "30m"; none = one hour

	CheckEvery duration `toml:"check_every"` // "72h"; none = one week
	Metered    bool     `toml:"metered"`     // the network is paid for by what it carries

	Limit struct {
		Up   byteRate `toml:"up"` // "500kB/s"; none = as fast as it goes
		Down byteRate `toml:"down"`
	} `toml:"limit"`

	MDNS struct {
		Enabled    *bool    `toml:"enabled"`    // none = true
		Interfaces []string `toml:"interfaces"` // names; none = all
	} `toml:"mdns"`
}

// duration is a time.Duration written as text, such as "1h30m".
type duration struct{ time.Duration }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a duration such as \"30m\" or \"1h\"", b)
	}
	d.Duration = v
	return nil
}

// settings is what a daemon runs with: flags before environment before file before defaults.
type settings struct {
	paths          paths
	name           string
	reach          string
	listen         []string
	peers          []string
	scanEvery      time.Duration
	checkEvery     time.Duration
	metered        bool
	limitUp        int64 // bytes a second; 0 = none
	limitDown      int64
	mdns           bool
	mdnsInterfaces []string
}

// daemonFlags are the flags of up and serve.
type daemonFlags struct {
	name   string
	reach  string
	listen []string
	peers  []string
	limit  []string
}

// paths finds the paths of this run: --dir before PEERDEX_DIR before the XDG base directories.
func (a *app) paths() (paths, error) {
	dir := a.flags.dir
	if dir == "" {
		dir = a.getenv("PEERDEX_DIR")
	}
	return findPaths(dir)
}

// settings reads the configuration file and puts environment and flags over it.
func (a *app) settings(f daemonFlags) (settings, error) {
	p, err := a.paths()
	if err != nil {
		return settings{}, err
	}
	c, err := readConfig(p.Config)
	if err != nil {
		return settings{}, err
	}
	s := settings{
		paths: p, name: c.Name, reach: c.Reach, listen: c.Listen, scanEvery: c.ScanEvery.Duration,
		checkEvery: c.CheckEvery.Duration, metered: c.Metered,
		peers: append(slices.Clone(c.Peers), f.peers...), mdns: c.MDNS.Enabled == nil || *c.MDNS.Enabled, mdnsInterfaces: c.MDNS.Interfaces,
	}
	s.limitUp, s.limitDown = int64(c.Limit.Up), int64(c.Limit.Down)
	for _, limit := range f.limit {
		if err := s.setLimit(limit); err != nil {
			return settings{}, err
		}
	}
	for _, reach := range []string{a.getenv("PEERDEX_REACH"), f.reach} {
		if reach != "" {
			s.reach = reach
		}
	}
	if f.name != "" {
		s.name = f.name
	}
	if len(f.listen) > 0 {
		s.listen = f.listen
	}
	switch s.reach {
	case "", "lan":
		s.reach = "lan"
	case "loopback":
	default:
		return settings{}, &api.Error{Code: api.CodeUsage, Title: fmt.Sprintf("reach %s is not known", quote(s.reach)),
			Detail: `it is "lan" or "loopback"`, Hint: "look at --reach, PEERDEX_REACH and " + p.Config}
	}
	return s, nil
}

// readConfig reads config.toml; a file that isn't there is empty. Every error names the line.
func readConfig(path string) (fileConfig, error) {
	var c fileConfig
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	md, err := toml.Decode(string(b), &c)
	if err != nil {
		title, detail := path+" can't be read", strings.TrimPrefix(err.Error(), "toml: ")
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			title, detail = fmt.Sprintf("%s, line %d, can't be read", path, pe.Position.Line), pe.Message
		}
		return c, &api.Error{Code: api.CodeUsage, Title: title, Detail: detail, Hint: "edit " + path}
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return c, &api.Error{
			Code: api.CodeUsage, Title: fmt.Sprintf("%s, line %d: unknown key %s", path, keyLine(b, unknown[0]), quote(unknown[0].String())),
			Detail: "known are name, reach, listen, peers, scan_every, check_every, metered, up and down below [limit], and enabled and interfaces below [mdns]", Hint: "edit " + path,
		}
	}
	return c, nil
}

// keyLine finds the line on which a key is set, or its table begins; 1 if it is written in a way we don't look for.
// The parser knows the position of errors only.
func keyLine(file []byte, key toml.Key) int {
	table := ""
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if inner, ok := strings.CutPrefix(line, "["); ok {
			table, _, _ = strings.Cut(strings.Trim(inner, "["), "]")
			if dotted(table) == key.String() {
				return n
			}
			table = dotted(table) + "."
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if ok && table+dotted(name) == key.String() {
			return n
		}
	}
	return 1
}

// dotted is a written key without spaces around its parts.
func dotted(key string) string {
	parts := strings.Split(key, ".")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return strings.Join(parts, ".")
}
