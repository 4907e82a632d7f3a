package watch

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links are followed in one path, as the kernel has it.
const maxLinks = 40

// trail is where paths lead: the directories in which a symbolic link, what is not there, the last part of a path or the
// directory of a file is looked up, and the names looked up there. A change of a path's meaning is an event of one of
// these names, or the move of a directory further up. The latter has to wait for the regular look: to watch all
// directories up to the root would wake the daemon with whatever anybody writes in, say, /tmp.
type trail struct {
	names map[string]map[string]bool // by directory
	whole map[string]bool            // directories in which every name counts that is not noise
}

func findTrail(paths []string) trail {
	t := trail{names: map[string]map[string]bool{}, whole: map[string]bool{}}
	for _, p := range paths {
		dir, ok := t.follow(p)
		if !ok || t.whole[dir] {
			continue
		}
		t.whole[dir] = true
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // gone again, or unreadable: its events tell when that changes
		}
		for _, e := range entries {
			if e.Type()&os.ModeSymlink != 0 && !isNoise(e.Name()) {
				t.follow(filepath.Join(dir, e.Name()))
			}
		}
	}
	return t
}

// follow adds what is looked up on the way to path, as far as it exists, and returns where that ends, if it is a
// directory.
func (t trail) follow(path string) (dir string, ok bool) {
	at, rest, links := "/", split(path), 0
	var parent, parentName string // where the directory of the last part is looked up
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil || !info.IsDir() || len(rest) == 0 {
			t.add(at, name)
		}
		if err != nil || !info.IsDir() && len(rest) == 0 {
			if parent != "" {
				t.add(parent, parentName)
			}
		}
		if err != nil {
			return "", false
		}
		parent, parentName = at, name
		switch {
		case info.IsDir():
			at = next
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(next)
			links++
			if err != nil || links > maxLinks {
				return "", false
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
		default:
			return "", false
		}
	}
	return at, true
}

func (t trail) add(dir, name string) {
	if t.names[dir] == nil {
		t.names[dir] = map[string]bool{}
	}
	t.names[dir][name] = true
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// counts tells whether an event of that path can change where a watched path leads or what it holds.
func (t trail) counts(path string) bool {
	if t.names[path] != nil || t.whole[path] {
		return true // a watched directory itself: moved, removed
	}
	dir, name := filepath.Dir(path), filepath.Base(path)
	return t.names[dir][name] || t.whole[dir] && !isNoise(name)
}

// isNoise tells names in a watched directory that are nobody's content: hidden ones (vim's swap files, Kubernetes'
// ..data), and the backups and working files of editors (x~, #x#, vim's 4913).
func isNoise(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || name == "4913" ||
		strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
}
