package volume

import (
	"path"
	"strings"
)

// Place is a folder by the volume that holds it and the path inside of that. The zero value is "not known".
type Place struct {
	Volume string // such as "uuid:1234-ABCD", "nfs:nas" or "smb:nas/media"; without ":/"
	Path   string // absolute inside of the volume, "/" for its root; raw bytes
}

// IsZero reports whether nothing is known.
func (p Place) IsZero() bool { return p.Volume == "" }

// String is the form that records hold: volume, ":", path; "" if nothing is known.
func (p Place) String() string {
	if p.IsZero() {
		return ""
	}
	return p.Volume + ":" + p.Path
}

// Parse reads what [Place.String] wrote. What it can't read, also what another version may have written, is the zero Place.
func Parse(s string) Place {
	i := strings.Index(s, ":/")
	if i < 0 || !strings.Contains(s[:i], ":") {
		return Place{}
	}
	return Place{Volume: s[:i], Path: s[i+1:]}
}

// Share returns the host that serves the volume over a network, in lower case, and how; false for a local volume, and if
// nothing is known.
func (p Place) Share() (kind, host string, ok bool) {
	kind, rest, _ := strings.Cut(p.Volume, ":")
	if kind != nfs && kind != smb && kind != ssh {
		return "", "", false
	}
	host, _, _ = strings.Cut(rest, "/")
	return kind, strings.Trim(host, "[]"), true
}

// ServerPath is the path of the folder on the host of a share, for the kinds of shares that tell it.
func (p Place) ServerPath() (string, bool) {
	kind, _, ok := p.Share()
	return p.Path, ok && kind != smb
}

// The kinds of volumes, as they begin a volume's name.
const (
	uuid = "uuid" // of the filesystem
	fsid = "fsid" // by which an older Linux names a filesystem; made of the UUID
	nfs  = "nfs"
	smb  = "smb"
	ssh  = "ssh"
)

// Likeness is what two places say of whether they are one folder.
type Likeness uint8

// The answers of [Compare].
const (
	Unknown   Likeness = iota // they can't be compared
	Same                      // the same volume and path; a volume that was copied bit by bit looks so too
	Different                 // two local folders that are not the same
)

// Compare says whether two places are one folder. Two shares with different names may be one after all, and a share may
// be a folder that is local elsewhere.
func Compare(a, b Place) Likeness {
	ka, _, _ := strings.Cut(a.Volume, ":")
	kb, _, _ := strings.Cut(b.Volume, ":")
	switch {
	case a.IsZero() || b.IsZero():
		return Unknown
	case a == b:
		return Same
	case ka == kb && (ka == uuid || ka == fsid):
		return Different
	}
	return Unknown
}

// share makes the place of a folder of a share from what the system calls the source of the mount: "nas:/srv/media",
// "//nas/media" or "ana@nas:/srv/media". below is the path of the folder relative to what is mounted.
func share(kind, source, below string) Place {
	switch kind {
	case smb:
		names := strings.SplitN(strings.Trim(strings.ReplaceAll(source, `\`, "/"), "/"), "/", 3)
		if len(names) < 2 || names[0] == "" {
			return Place{}
		}
		host := names[0][strings.LastIndexByte(names[0], '@')+1:]
		names = append(names, "")
		return Place{Volume: smb + ":" + strings.ToLower(host+"/"+names[1]), Path: path.Join("/", names[2], below)}
	case nfs, ssh:
		at := strings.Index(source, ":/")
		if at <= 0 {
			return Place{}
		}
		host := source[:at]
		host = host[strings.LastIndexByte(host, '@')+1:]
		return Place{Volume: kind + ":" + strings.ToLower(host), Path: path.Join(source[at+1:], below)}
	}
	return Place{}
}

// kindOfShare says what kind of share a type of filesystem is, "" if it is none that is known.
func kindOfShare(fstype string) string {
	switch fstype {
	case "nfs", "nfs4":
		return nfs
	case "cifs", "smb3":
		return smb
	case "fuse.sshfs":
		return ssh
	}
	return ""
}
