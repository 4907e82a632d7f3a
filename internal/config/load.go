package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Loaded is what one file of a directory gave: a definition or an error.
type Loaded struct {
	Name       string // of the container; with an error, what the file's name says
	File       string
	Definition *Definition // nil with an error
	Err        error
}

// LoadFile reads the definition in a file. What is wrong with its content is of type Errors.
func LoadFile(path string) (*Definition, error) { return new(Loader).LoadFile(path) }

// LoadDir reads the definitions in a directory, see Loader.LoadDir.
func LoadDir(dir string) ([]Loaded, error) { return new(Loader).LoadDir(dir) }

// Loader reads definitions again and again, and parses only what has changed: of a file with the same text as the last time
// the same Definition is returned, which must not be changed. The zero value is ready; it may be used by several goroutines.
type Loader struct {
	mu    sync.Mutex
	known map[string]*Definition // by path
}

// LoadFile reads the definition in a file. What is wrong with its content is of type Errors.
func (l *Loader) LoadFile(path string) (*Definition, error) {
	src, err := readFile(path)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	d := l.known[path]
	l.mu.Unlock()
	if d != nil && bytes.Equal(d.Source, src) {
		return d, nil
	}
	if d, err = Parse(path, src); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[string]*Definition{}
	}
	l.known[path] = d
	return d, nil
}

// forget forgets files that are not in a directory any more.
func (l *Loader) forget(dir string, there []Loaded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) <= len(there) {
		return
	}
	files := map[string]bool{}
	for _, one := range there {
		files[one.File] = true
	}
	maps.DeleteFunc(l.known, func(path string, _ *Definition) bool {
		return filepath.Dir(path) == filepath.Clean(dir) && !files[path]
	})
}

// LoadDir reads the definitions in a directory: files NAME.yaml, and symbolic links to such. They are sorted by name, and
// no name is there twice. Hidden files, subdirectories and names that end in neither .yaml nor .yml (what editors and
// package managers leave behind, a README) are not looked at; NAME.yml is an error that asks for another name. It is an
// error of the whole if the directory cannot be read.
func (l *Loader) LoadDir(dir string) ([]Loaded, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the directory of definitions: %w", err)
	}
	var all []Loaded
	for _, entry := range entries {
		if one, ok := l.loadEntry(dir, entry); ok {
			all = append(all, one)
		}
	}
	l.forget(dir, all)
	slices.SortStableFunc(all, func(a, b Loaded) int {
		// .yaml before .yml, so that the former's file is named.
		return strings.Compare(a.Name+"\x00"+filepath.Ext(a.File), b.Name+"\x00"+filepath.Ext(b.File))
	})
	return mergeNames(all), nil
}

// loadEntry reads one file, and is false for what is no definition.
func (l *Loader) loadEntry(dir string, entry fs.DirEntry) (Loaded, bool) {
	name := entry.Name()
	if strings.HasPrefix(name, ".") || !isYAML(filepath.Ext(name)) {
		return Loaded{}, false
	}
	file := filepath.Join(dir, name)
	one := Loaded{Name: nameOf(name), File: file}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			return Loaded{}, false // removed since the directory was read
		}
	}
	switch {
	case err != nil:
		one.Err = fmt.Errorf("cannot read %s: %w", file, bare(err))
	case info.IsDir():
		return Loaded{}, false
	default:
		one.Definition, one.Err = l.LoadFile(file)
	}
	return one, true
}

// mergeNames makes one error of files that claim the same name: it would be a guess which of them is meant.
func mergeNames(all []Loaded) []Loaded {
	var merged []Loaded
	for _, one := range all {
		last := len(merged) - 1
		if last < 0 || merged[last].Name != one.Name {
			merged = append(merged, one)
			continue
		}
		first := &merged[last]
		first.Definition = nil
		first.Err = Errors{{
			File: first.File, Msg: fmt.Sprintf("%s claims the same name", filepath.Base(one.File)), Hint: "remove one of the two files",
		}}
	}
	return merged
}

// readFile reads a regular file up to the largest size, and one byte more so that larger ones are told. It does not wait
// for the other end of a FIFO.
func readFile(path string) (src []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, bare(err))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, bare(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s: not a regular file", path)
	}
	src, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, bare(err))
	}
	return src, nil
}

// bare takes the path out of an error, where the message around it has it already.
func bare(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
