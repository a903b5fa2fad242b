package volume

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]Place{
		"":                            {},
		"ext4:1234":                   {},
		":/srv":                       {},
		"/srv:/x":                     {},
		"uuid:1234-abcd:/":            {"uuid:1234-abcd", "/"},
		"nfs:[fe80::1]:/srv/a:/b":     {"nfs:[fe80::1]", "/srv/a:/b"},
		"smb:nas/media:/caf\xe9":      {"smb:nas/media", "/caf\xe9"},
		"later:what we know not:/srv": {"later:what we know not", "/srv"},
	} {
		got := Parse(text)
		if got != want || !got.IsZero() && got.String() != text {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if s := (Place{}).String(); s != "" {
		t.Errorf("nothing known: %q", s)
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct{ fstype, source, below, want, host, server string }{
		{"nfs4", "NAS:/srv/media", "/", "nfs:nas:/srv/media", "nas", "/srv/media"},
		{"nfs", "nas.lan:/srv/media/", "/films", "nfs:nas.lan:/srv/media/films", "nas.lan", "/srv/media/films"},
		{"nfs4", "[fe80::1]:/srv", "/", "nfs:[fe80::1]:/srv", "fe80::1", "/srv"},
		{"nfs4", "nas:srv", "/", "", "", ""},
		{"cifs", "//nas/Media", "/films", "smb:nas/media:/films", "nas", ""},
		{"cifs", `\\nas\media\sub`, "/films", "smb:nas/media:/sub/films", "nas", ""},
		{"smb3", "//ana@nas/media/", "/", "smb:nas/media:/", "nas", ""},
		{"cifs", "//nas", "/", "", "", ""},
		{"fuse.sshfs", "ana@nas:/srv/media", "/", "ssh:nas:/srv/media", "nas", "/srv/media"},
		{"fuse.sshfs", "nas:", "/", "", "", ""},
		{"ext4", "/dev/sda1", "/", "", "", ""},
	} {
		p := share(kindOfShare(c.fstype), c.source, c.below)
		_, host, _ := p.Share()
		server, ok := p.ServerPath()
		if p.String() != c.want || host != c.host || ok != (c.server != "") || ok && server != c.server {
			t.Errorf("%s %s %s: %q on %q, %q %v", c.fstype, c.source, c.below, p, host, server, ok)
		}
	}
	if _, _, ok := (Place{"uuid:1", "/"}).Share(); ok {
		t.Error("a disk is no share")
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Likeness
	}{
		{"uuid:1:/a", "uuid:1:/a", Same},
		{"uuid:1:/a", "uuid:1:/b", Different},
		{"uuid:1:/a", "uuid:2:/a", Different},
		{"fsid:ef53-1:/a", "fsid:ef53-2:/a", Different},
		{"uuid:1:/a", "fsid:ef53-1:/a", Unknown},
		{"nfs:nas:/a", "nfs:nas:/a", Same},
		{"nfs:nas:/a", "nfs:10.0.0.1:/a", Unknown},
		{"smb:nas/a:/", "uuid:1:/a", Unknown},
		{"", "uuid:1:/a", Unknown},
		{"", "", Unknown},
	} {
		if got, back := Compare(Parse(c.a), Parse(c.b)), Compare(Parse(c.b), Parse(c.a)); got != c.want || back != c.want {
			t.Errorf("%s and %s: %v, %v, want %v", c.a, c.b, got, back, c.want)
		}
	}
}
