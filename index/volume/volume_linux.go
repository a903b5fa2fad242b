package volume

import (
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of returns the place of a folder, given by an absolute path without symbolic links. The zero Place says that the system
// doesn't tell; an error, that the folder or the mounts could not be read.
func Of(folder string) (Place, error) {
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Place{}, fmt.Errorf("open %s: %w", folder, err)
	}
	defer func() { _ = unix.Close(fd) }()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return Place{}, fmt.Errorf("mount of %s: %w", folder, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Place{}, fmt.Errorf("mount of %s: %w", folder, err)
	}
	m, ok := findMount(string(mounts), mountID(string(info)))
	if !ok {
		return Place{}, nil
	}
	below, inside := strings.CutPrefix(folder, strings.TrimSuffix(m.point, "/"))
	if !inside || below != "" && below[0] != '/' {
		return Place{}, nil // what is mounted there is not what the path says
	}
	below = path.Join("/", m.root, below)
	if kind := kindOfShare(m.fstype); kind != "" {
		return share(kind, m.source, below), nil
	}
	if name := localName(fd, m.device); name != "" {
		return Place{Volume: name, Path: below}, nil
	}
	return Place{}, nil
}

// mount is a line of mountinfo.
type mount struct {
	device string // "254:0"
	root   string // path inside of the filesystem of what is mounted
	point  string // where
	fstype string
	source string
}

// mountID reads the number of a mount from the fdinfo of a descriptor, "" if it isn't there.
func mountID(fdinfo string) string {
	for line := range strings.Lines(fdinfo) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// findMount finds a mount by its number.
func findMount(mountinfo, id string) (mount, bool) {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != id {
			continue
		}
		for i := 6; i+2 < len(f); i++ { // optional fields end with a dash
			if f[i] == "-" {
				return mount{device: f[2], root: unescape(f[3]), point: unescape(f[4]), fstype: f[i+1], source: unescape(f[i+2])}, true
			}
		}
	}
	return mount{}, false
}

// unescape turns the octal escapes of mountinfo into bytes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// localName names the filesystem of an open folder; "" if it has no name that means the same on another device.
func localName(fd int, device string) string {
	if u := filesystemUUID(fd); u != "" {
		return uuid + ":" + u
	}
	if u := diskUUID("/dev/disk/by-uuid", device); u != "" {
		return uuid + ":" + u
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Fsid.Val == [2]int32{} {
		return ""
	}
	switch uint64(st.Type) & 0xffffffff {
	case unix.EXT4_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC: // other filesystems make it of the number of the device
		return fmt.Sprintf("%s:%x-%08x%08x", fsid, uint64(st.Type)&0xffffffff, uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]))
	}
	return ""
}

// getUUID is the ioctl FS_IOC_GETFSUUID of Linux 6.9. Where it has another number, it is refused.
const getUUID = 0x80111500

// filesystemUUID asks the kernel, which tells everybody.
func filesystemUUID(fd int) string {
	var u struct {
		size  uint8
		bytes [16]byte
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getUUID, uintptr(unsafe.Pointer(&u)))
	if errno != 0 || u.size != 16 || u.bytes == [16]byte{} {
		return ""
	}
	h := hex.EncodeToString(u.bytes[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// diskUUID looks a device up among those that the system named by their UUIDs.
func diskUUID(dir, device string) string {
	names, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range names {
		var st unix.Stat_t
		err := unix.Stat(filepath.Join(dir, e.Name()), &st)
		rdev := uint64(st.Rdev)
		if err == nil && rdev != 0 && device == fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev)) {
			return strings.ToLower(e.Name())
		}
	}
	return ""
}
