package watch

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The parallel tests do little but wait. A -parallel on the command line comes later and wins.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	// soon is what Changed may take on a busy machine; without the event it would take the 45 s of the regular look.
	soon = 3 * time.Second
	// quiet is how long nothing has to come: several times the debounce.
	quiet = 1200 * time.Millisecond
)

// run starts a Watcher of the paths and waits for the Changed of a new set.
func run(t *testing.T, w *Watcher, paths ...string) {
	t.Helper()
	w.Set(paths)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	wantChanged(t, w)
}

func wantChanged(t *testing.T, w *Watcher) {
	t.Helper()
	begin := time.Now()
	select {
	case <-w.Changed():
		t.Logf("changed after %v", time.Since(begin).Round(time.Millisecond))
	case <-time.After(soon):
		t.Fatalf("no Changed within %v", soon)
	}
}

func wantQuiet(t *testing.T, w *Watcher) {
	t.Helper()
	select {
	case <-w.Changed():
		t.Fatal("Changed without a change")
	case <-time.After(quiet):
	}
}

// tree is a temporary directory whose methods fail the test.
type tree struct {
	t   *testing.T
	dir string
}

func (d tree) path(name string) string { return filepath.Join(d.dir, name) }

func (d tree) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d tree) mkdir(name string)         { d.t.Helper(); d.must(os.MkdirAll(d.path(name), 0o755)) }
func (d tree) remove(name string)        { d.t.Helper(); d.must(os.RemoveAll(d.path(name))) }
func (d tree) rename(from, to string)    { d.t.Helper(); d.must(os.Rename(d.path(from), d.path(to))) }
func (d tree) symlink(target, at string) { d.t.Helper(); d.must(os.Symlink(target, d.path(at))) }
func (d tree) write(name, content string) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(name), []byte(content), 0o644))
}

func (d tree) appendTo(name, content string) {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_APPEND|os.O_WRONLY, 0)
	d.must(err)
	_, err = f.WriteString(content)
	d.must(errors.Join(err, f.Close()))
}

// configMap makes a directory as the kubelet does: name/npd.yaml → ..data/npd.yaml, ..data → ..v1.
func (d tree) configMap(name string) {
	d.t.Helper()
	d.mkdir(name + "/..v1")
	d.write(name+"/..v1/npd.yaml", "one")
	d.symlink("..v1", name+"/..data")
	d.symlink("..data/npd.yaml", name+"/npd.yaml")
}

// swapConfigMap updates it as the kubelet does.
func (d tree) swapConfigMap(name string) {
	d.t.Helper()
	d.mkdir(name + "/..v2")
	d.write(name+"/..v2/npd.yaml", "two")
	d.symlink("..v2", name+"/..data_tmp")
	d.rename(name+"/..data_tmp", name+"/..data")
	d.remove(name + "/..v1")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		watch  string
		before func(d tree)
		change func(d tree)
		then   string // a file that is written to afterwards: whatever was put in place has to be watched, too
	}{
		{"written in place", "a", func(d tree) { d.write("a", "1") }, func(d tree) { d.write("a", "2") }, "a"},
		{"renamed over", "a", func(d tree) { d.write("a", "1") }, func(d tree) {
			d.write(".a.tmp", "2")
			d.rename(".a.tmp", "a")
		}, "a"},
		{"sed -i", "a", func(d tree) { d.write("a", "delay: 1s\n") }, func(d tree) {
			d.must(exec.Command("sed", "-i", "s/1s/2s/", d.path("a")).Run())
		}, "a"},
		{"removed and made again", "a", func(d tree) { d.write("a", "1") }, func(d tree) {
			d.remove("a")
			d.write("a", "2")
		}, "a"},
		{"cut to nothing", "a", func(d tree) { d.write("a", "1") }, func(d tree) { d.write("a", "") }, "a"},
		{"same size and time", "a", func(d tree) { d.write("a", "1") }, func(d tree) {
			info, err := os.Stat(d.path("a"))
			d.must(err)
			d.write("a", "2")
			d.must(os.Chtimes(d.path("a"), info.ModTime(), info.ModTime()))
		}, "a"},
		{"too large to be read", "a", func(d tree) {
			d.write("a", "1")
			d.must(os.Truncate(d.path("a"), maxHashed+10))
		}, func(d tree) { d.appendTo("a", "2") }, "a"},

		{"removed", "a", func(d tree) { d.write("a", "1") }, func(d tree) { d.remove("a") }, ""},
		{"appears later", "a", func(tree) {}, func(d tree) { d.write("a", "1") }, "a"},
		{"parent appears later", "p/a", func(tree) {}, func(d tree) {
			d.mkdir("p")
			d.write("p/a", "1")
		}, "p/a"},
		{"all parents appear later", "p/q/r/s/a", func(tree) {}, func(d tree) {
			d.mkdir("p/q/r/s")
			d.write("p/q/r/s/a", "1")
		}, "p/q/r/s/a"},
		{"parent goes and comes back", "p/a", func(d tree) {
			d.mkdir("p")
			d.write("p/a", "1")
		}, func(d tree) {
			d.remove("p")
			d.mkdir("p")
			d.write("p/a", "2")
		}, "p/a"},
		{"parent replaced by rename", "p/q/a", func(d tree) {
			d.mkdir("p/q")
			d.write("p/q/a", "1")
			d.mkdir("new/q")
			d.write("new/q/a", "2")
		}, func(d tree) {
			d.rename("p", "old")
			d.rename("new", "p")
		}, "p/q/a"},

		{"directory: file written", "d", func(d tree) { d.mkdir("d"); d.write("d/a", "1") },
			func(d tree) { d.write("d/a", "2") }, "d/a"},
		{"directory: file added", "d", func(d tree) { d.mkdir("d") }, func(d tree) { d.write("d/a", "1") }, "d/a"},
		{"directory: empty file added", "d", func(d tree) { d.mkdir("d") }, func(d tree) { d.write("d/a", "") }, "d/a"},
		{"directory: file renamed", "d", func(d tree) { d.mkdir("d"); d.write("d/a", "1") },
			func(d tree) { d.rename("d/a", "d/b") }, "d/b"},
		{"directory: file removed", "d", func(d tree) { d.mkdir("d"); d.write("d/a", "1") },
			func(d tree) { d.remove("d/a") }, ""},
		{"directory: linked file written", "d", func(d tree) {
			d.mkdir("d")
			d.mkdir("elsewhere")
			d.write("elsewhere/a", "1")
			d.symlink("../elsewhere/a", "d/a")
		}, func(d tree) { d.write("elsewhere/a", "2") }, "elsewhere/a"},
		{"directory: appears later", "c/d", func(tree) {}, func(d tree) {
			d.mkdir("c/d")
			d.write("c/d/a", "1")
		}, "c/d/a"},

		{"ConfigMap, directory", "m", func(d tree) { d.configMap("m") }, func(d tree) { d.swapConfigMap("m") }, "m/npd.yaml"},
		{"ConfigMap, file", "m/npd.yaml", func(d tree) { d.configMap("m") }, func(d tree) { d.swapConfigMap("m") }, "m/npd.yaml"},
		{"symlinked directory swapped", "current/config.json", func(d tree) {
			d.mkdir("v1")
			d.mkdir("v2")
			d.write("v1/config.json", "1")
			d.write("v2/config.json", "2")
			d.symlink("v1", "current")
		}, func(d tree) {
			d.symlink("v2", "current.new")
			d.rename("current.new", "current")
		}, "v2/config.json"},
		{"watched directory is a swapped symlink", "current", func(d tree) {
			d.mkdir("v1")
			d.mkdir("v2")
			d.write("v1/a", "1")
			d.write("v2/a", "2")
			d.symlink("v1", "current")
		}, func(d tree) {
			d.symlink("v2", "current.new")
			d.rename("current.new", "current")
		}, "v2/a"},
		{"link in the middle of a chain swapped", "srv/a", func(d tree) {
			d.mkdir("x/v1")
			d.mkdir("x/v2")
			d.write("x/v1/a", "1")
			d.write("x/v2/a", "2")
			d.symlink("v1", "x/live")
			d.mkdir("y/z")
			d.symlink("../../x/live", "y/z/link")
			d.symlink(d.path("y/z/link"), "srv")
		}, func(d tree) {
			d.remove("x/live")
			d.symlink("v2", "x/live")
		}, "x/v2/a"},
		{"link becomes a file", "a", func(d tree) {
			d.write("b", "1")
			d.symlink("b", "a")
		}, func(d tree) {
			d.remove("a")
			d.write("a", "2")
		}, "a"},
		{"link to nothing, then something", "a", func(d tree) { d.symlink("p/b", "a") }, func(d tree) {
			d.mkdir("p")
			d.write("p/b", "1")
		}, "p/b"},
		{"link loop, then a file", "a", func(d tree) { d.symlink("a", "a") }, func(d tree) {
			d.remove("a")
			d.write("a", "1")
		}, "a"},
		{"a file in a directory's place", "d/a", func(d tree) { d.write("d", "1") }, func(d tree) {
			d.remove("d")
			d.mkdir("d")
			d.write("d/a", "1")
		}, "d/a"},
		{"a FIFO in the file's place", "a", func(d tree) { d.write("a", "1") }, func(d tree) {
			d.remove("a")
			d.must(exec.Command("mkfifo", d.path("a")).Run())
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := tree{t, t.TempDir()}
			c.before(d)
			w := New(slog.New(slog.DiscardHandler), Options{})
			run(t, w, d.path(c.watch))
			c.change(d)
			wantChanged(t, w)
			if c.then == "" {
				return
			}
			// What is done in several steps may be seen in several.
			for settled := false; !settled; {
				select {
				case <-w.Changed():
				case <-time.After(quiet):
					settled = true
				}
			}
			d.appendTo(c.then, "more")
			wantChanged(t, w)
		})
	}
}

func TestNoise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		watch  string
		change func(d tree)
	}{
		{"vim leaves a swap file and a backup", "d", func(d tree) {
			d.write("d/4913", "")
			d.remove("d/4913")
			d.write("d/.a.yaml.swp", "x")
			d.write("d/a.yaml~", "1")
		}},
		{"emacs locks and saves by itself", "d", func(d tree) {
			d.symlink("me@host.1", "d/.#a.yaml")
			d.write("d/#a.yaml#", "2")
		}},
		{"written as it was", "d", func(d tree) { d.write("d/a.yaml", "1") }},
		{"saved by rename as it was", "d", func(d tree) {
			d.write("d/.new", "1")
			d.rename("d/.new", "d/a.yaml")
		}},
		{"touched", "d", func(d tree) {
			now := time.Now()
			d.must(os.Chtimes(d.path("d/a.yaml"), now, now))
			d.must(os.Chmod(d.path("d/a.yaml"), 0o600))
		}},
		{"a temporary file comes and goes", "d", func(d tree) {
			d.write("d/sedXYZ", "1")
			d.remove("d/sedXYZ")
		}},
		{"a neighbour of a watched file", "d/a.yaml", func(d tree) { d.write("d/b.yaml", "1") }},
		{"a neighbour of a parent", "d/a.yaml", func(d tree) { d.write("b", "1") }},
		{"deeper than a watched directory", "d", func(d tree) { d.write("d/sub/a", "2") }},
		{"links swapped to the same content", "l", func(d tree) {
			d.mkdir("e")
			d.write("e/a.yaml", "1")
			d.mkdir("e/sub")
			d.symlink("e", "l.new")
			d.rename("l.new", "l")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := tree{t, t.TempDir()}
			d.mkdir("d/sub")
			d.write("d/a.yaml", "1")
			d.write("d/sub/a", "1")
			d.symlink("d", "l")
			w := New(slog.New(slog.DiscardHandler), Options{})
			run(t, w, d.path(c.watch))
			c.change(d)
			wantQuiet(t, w)
			// It does see.
			if c.watch == "d/a.yaml" {
				d.appendTo(c.watch, "2")
			} else {
				d.appendTo(c.watch+"/a.yaml", "2")
			}
			wantChanged(t, w)
		})
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	d := tree{t, t.TempDir()}
	d.write("a", "1")
	d.write("b", "1")
	w := New(slog.New(slog.DiscardHandler), Options{})
	run(t, w, d.path("a"))

	w.Set([]string{d.path("a"), d.path("b")})
	wantChanged(t, w) // b may have changed since the caller read it
	w.Set([]string{d.path("b"), d.path("a"), d.path("a") + "/", d.path("b")})
	wantQuiet(t, w)
	w.Set([]string{d.path("b")})
	wantQuiet(t, w)
	d.appendTo("a", "2")
	wantQuiet(t, w)
	d.appendTo("b", "2")
	wantChanged(t, w)
	w.Set(nil)
	d.appendTo("b", "3")
	wantQuiet(t, w)
}

// More events than the kernel's queue holds, from writers that do not stop: every change is seen, and soon.
func TestStorm(t *testing.T) {
	d := tree{t, t.TempDir()}
	d.mkdir("d")
	w := New(slog.New(slog.DiscardHandler), Options{})
	run(t, w, d.path("d"))

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		f, err := os.Create(d.path("d/log"))
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			_, err = f.WriteAt([]byte{byte(i)}, 0)
		}
		done <- errors.Join(err, f.Close())
	}()
	for range 3 {
		wantChanged(t, w)
	}
	cancel()
	d.must(<-done)
}
