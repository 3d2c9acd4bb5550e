package diagnosis

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
)

// User is a Unix user whose view is checked.
type User struct {
	UID    uint32
	Name   string
	Home   string
	groups []uint32
	// Self tells that it is who runs this program, so that the environment is known too.
	Self bool
}

// NewUser looks a user up; one that the host does not know has no home and no groups.
func NewUser(uid uint32) User {
	u := User{UID: uid, Name: "uid " + strconv.FormatUint(uint64(uid), 10), Self: int(uid) == os.Geteuid()}
	known, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return u
	}
	u.Name, u.Home = known.Username, known.HomeDir
	ids, _ := known.GroupIds()
	for _, id := range append(ids, known.Gid) {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			u.groups = append(u.groups, uint32(gid))
		}
	}
	return u
}

// Place is where the user's processes look for configurations.
func (u User) Place() modulefile.Place {
	if u.Self {
		return modulefile.Here()
	}
	return modulefile.Place{
		Home: u.Home, RuntimeDir: "/run/user/" + strconv.FormatUint(uint64(u.UID), 10),
		Unreadable: func(path string) bool { return u.CanRead(path) != nil },
	}
}

const (
	mayRead  = 4
	mayWrite = 2
	mayPass  = 1
)

// CanRead tells why the user cannot read a file.
func (u User) CanRead(path string) error { return u.reach(path, mayRead) }

// CanConnect tells why the user cannot connect to a socket.
func (u User) CanConnect(path string) error {
	is, err := os.Stat(path)
	if err == nil && is.Mode()&fs.ModeSocket == 0 {
		return errors.New("it is there but is no socket")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no such file: %w", fs.ErrNotExist)
	}
	return u.reach(path, mayWrite)
}

// reach follows the mode bits from the root to the file. Access control lists and security modules are not looked at.
func (u User) reach(path string, want uint32) error {
	for _, directory := range above(path) {
		if err := u.may(directory, mayPass); err != nil {
			return err
		}
	}
	return u.may(path, want)
}

// above lists the directories that lead to a path, from the root.
func above(path string) []string {
	var directories []string
	for d := filepath.Dir(path); ; d = filepath.Dir(d) {
		directories = append(directories, d)
		if d == filepath.Dir(d) {
			slices.Reverse(directories)
			return directories
		}
	}
}

func (u User) may(path string, want uint32) error {
	is, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := is.Sys().(*syscall.Stat_t)
	if !ok || u.UID == 0 {
		return nil
	}
	bits := stat.Mode
	switch {
	case stat.Uid == u.UID:
		bits >>= 6
	case slices.Contains(u.groups, stat.Gid):
		bits >>= 3
	}
	if bits&want == want {
		return nil
	}
	verb := map[uint32]string{mayRead: "read", mayWrite: "write to", mayPass: "pass"}[want]
	return fmt.Errorf("%s may not %s %s (%s): %w", u.Name, verb, path, is.Mode(), fs.ErrPermission)
}
