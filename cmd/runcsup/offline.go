package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/supervisor"
)

// offlineRunDir is in the output directory of a bundle that was built without the daemon.
const offlineRunDir = ".run"

// offlineBuilder makes bundles without a daemon. netnsOf may be nil.
func offlineBuilder(bundlesDir, runDir string, netnsOf func(string) (string, error)) (*bundle.Builder, error) {
	host, err := bundle.DetectHost()
	if err != nil {
		return nil, err
	}
	return bundle.NewBuilder(bundle.BuilderConfig{
		BundlesDir: bundlesDir, RunDir: runDir, NetnsOf: netnsOf, Host: host,
		CgroupsPath: func(name string) string { return "/runcsup/" + name },
	})
}

// isFile tells the file of a definition from the name of a container.
func isFile(arg string) bool {
	ext := filepath.Ext(arg)
	return strings.ContainsRune(arg, filepath.Separator) || ext == config.Extension || ext == ".yml"
}

// load reads the files named, or all of the directory.
func load(dir string, files []string) ([]config.Loaded, error) {
	if len(files) == 0 {
		return config.LoadDir(dir)
	}
	loaded := make([]config.Loaded, len(files))
	for i, file := range files {
		base := filepath.Base(file)
		loaded[i] = config.Loaded{Name: strings.TrimSuffix(base, filepath.Ext(base)), File: file}
		loaded[i].Definition, loaded[i].Err = config.LoadFile(file)
	}
	return loaded, nil
}

// checkOrder refuses what is wrong with a definition only because of others: those that were loaded, and those beside them.
func checkOrder(loaded []config.Loaded) ([]config.Loaded, error) {
	given := map[string]bool{}
	c := config.OrderCheck{Definitions: map[string]*config.Definition{}}
	beside := map[string]supervisor.Order{}
	for _, one := range loaded {
		given[one.Name] = true
		c.Known = append(c.Known, one.Name)
		if one.Definition != nil {
			c.Definitions[one.Name] = one.Definition
		}
	}
	dirs := map[string]bool{}
	for _, one := range loaded {
		dir := filepath.Dir(one.File)
		if dirs[dir] {
			continue
		}
		dirs[dir] = true
		others, err := config.LoadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, other := range others {
			if given[other.Name] {
				continue
			}
			c.Known = append(c.Known, other.Name)
			if other.Definition != nil {
				beside[other.Name] = other.Definition.Order
			}
		}
	}
	c.InEffect = func(name string) (supervisor.Order, bool) { o, ok := beside[name]; return o, ok }
	faults := c.Errors()
	for i, one := range loaded {
		if errs := faults[one.Name]; len(errs) > 0 && one.Err == nil {
			loaded[i].Definition, loaded[i].Err = nil, errs
		}
	}
	return loaded, nil
}

func check(ctx context.Context, builder *bundle.Builder, one config.Loaded) checked {
	result := checked{Name: one.Name, File: one.File}
	if one.Err != nil {
		result.Error = one.Err.Error()
	} else if _, err := builder.Plan(ctx, one.Definition.Bundle); err != nil {
		result.Error = one.File + ": " + err.Error()
	}
	return result
}

// buildOffline builds the bundle of a definition and returns its directory, output/NAME. After an error there is none.
func buildOffline(ctx context.Context, file, output string) (name, dir string, err error) {
	definition, err := config.LoadFile(file)
	if err != nil {
		return "", "", err
	}
	name = definition.Name
	if output, err = filepath.Abs(output); err != nil {
		return "", "", fmt.Errorf("cannot tell the output directory: %w", err)
	}
	// Installing replaces what is there, which here may be anything.
	dir = filepath.Join(output, name)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("cannot build %q: %s is there already: remove it, or choose another --output", name, dir)
	}
	runDir := filepath.Join(output, offlineRunDir)
	builder, err := offlineBuilder(output, runDir, nil)
	if err != nil {
		return "", "", fmt.Errorf("cannot build %q: %w", name, err)
	}
	defer func() {
		for _, empty := range []string{filepath.Join(runDir, "secrets"), filepath.Join(runDir, "netns"), runDir} {
			_ = os.Remove(empty) // fails, as it should, where something was put
		}
	}()
	plan, err := builder.Plan(ctx, definition.Bundle)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	prepared, err := builder.Prepare(ctx, plan)
	if err != nil {
		return "", "", err
	}
	dir, err = prepared.Install(ctx)
	if err != nil {
		return "", "", errors.Join(err, prepared.Discard())
	}
	return name, dir, nil
}
