package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFindMount(t *testing.T) {
	const info = `22 26 0:21 / /sys rw - sysfs sysfs rw
26 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
41 26 254:0 /srv/two\040words /mnt/b\134s rw shared:1 - ext4 /dev/vda rw
42 26 0:99 / /mnt/nas rw,relatime - nfs4 nas:/srv/media rw
43 26 0:99 / broken
`
	for id, want := range map[string]mount{
		"26": {"254:0", "/", "/", "ext4", "/dev/vda"},
		"41": {"254:0", "/srv/two words", `/mnt/b\s`, "ext4", "/dev/vda"},
		"42": {"0:99", "/", "/mnt/nas", "nfs4", "nas:/srv/media"},
		"43": {},
		"2":  {},
		"":   {},
	} {
		if got, ok := findMount(info, id); got != want || ok != (want != mount{}) {
			t.Errorf("mount %s: %+v, %v", id, got, ok)
		}
	}
	if id := mountID("pos:\t0\nflags:\t02\nmnt_id:\t41\nino:\t7\n"); id != "41" {
		t.Errorf("mount ID %q", id)
	}
	if s := unescape(`a\04`); s != `a\04` {
		t.Errorf("cut escape: %q", s)
	}
}

func TestOf(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Of(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a folder that is not there: %v", err)
	}
	p, err := Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.IsZero() {
		t.Skip("the filesystem of the temporary folder has no name")
	}
	again, err := Of(filepath.Dir(dir))
	if err != nil || Compare(p, again) != Different || again.Volume != p.Volume {
		t.Errorf("%v, and the folder around it %v, %v", p, again, err)
	}
	if Parse(p.String()) != p {
		t.Errorf("%q is not read as it was written", p)
	}
}

// TestBindMount is about one folder at two paths, also below what is mounted.
func TestBindMount(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	for _, d := range []string{filepath.Join(here, "sub"), there} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(here, there, "", unix.MS_BIND, ""); err != nil {
		t.Skip("mounting needs root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(there, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, sub := range []string{"", "sub"} {
		a, errA := Of(filepath.Join(here, sub))
		b, errB := Of(filepath.Join(there, sub))
		if errors.Join(errA, errB) != nil {
			t.Fatal(errA, errB)
		}
		if a.IsZero() {
			t.Skip("the filesystem of the temporary folder has no name")
		}
		if Compare(a, b) != Same {
			t.Errorf("%v and %v are one", a, b)
		}
	}
	a, _ := Of(here)
	if b, _ := Of(filepath.Join(there, "sub")); Compare(a, b) != Different {
		t.Errorf("%v and %v are two", a, b)
	}
}

func TestDiskUUID(t *testing.T) {
	if _, err := os.Stat("/dev/null"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.Symlink("/dev/null", filepath.Join(dir, "1234-ABCD")), os.Symlink("/none", filepath.Join(dir, "5"))); err != nil {
		t.Fatal(err)
	}
	if u := diskUUID(dir, "1:3"); u != "1234-abcd" {
		t.Errorf("/dev/null is %q", u)
	}
	if u := diskUUID(dir, "1:4") + diskUUID(filepath.Join(dir, "none"), "1:3"); u != "" {
		t.Errorf("found %q", u)
	}
}
