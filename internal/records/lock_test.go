package records

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// What holds the lock is another process, as it is in life: flock(2) does not keep a process out of its own locks only
// because each open file is one of its own.
func TestLockOfAnotherProcess(t *testing.T) {
	dir := os.Getenv("RUNCSUP_TEST_LOCK")
	if dir != "" { // the other process
		lock, err := Lock(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("locked\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed, or the test ends
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir = filepath.Join(t.TempDir(), "not", "there", "yet")
	other := exec.Command(os.Args[0], "-test.run=^TestLockOfAnotherProcess$")
	other.Env = append(os.Environ(), "RUNCSUP_TEST_LOCK="+dir)
	stdin, errIn := other.StdinPipe()
	stdout, errOut := other.StdoutPipe()
	if err := errors.Join(errIn, errOut, other.Start()); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = other.Process.Kill()
			_ = other.Wait() // says that it was killed
		}
	}
	defer kill()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatal(line, err)
	}

	_, err := Lock(dir, 0)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Pid != other.Process.Pid || locked.Dir != dir {
		t.Fatalf("got %v, want the lock of pid %d", err, other.Process.Pid)
	}
	kill()
	lock, err := Lock(dir, 0) // although its file is still there
	if err != nil {
		t.Fatal(err)
	}
	// Children do not hold it.
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	lock, err = Lock(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// However locking and unlocking race, and the removal of the file with them, one at a time has the lock.
func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	holders, got := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				lock, err := Lock(dir, 0)
				var locked *LockedError
				if errors.As(err, &locked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				holders++
				got++
				if holders != 1 {
					t.Errorf("%d holders", holders)
				}
				mu.Unlock()
				mu.Lock()
				holders--
				mu.Unlock()
				if err := lock.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got < 8 {
		t.Errorf("locked %d times", got)
	}
}

func TestLockDoesNotFollowALink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, filepath.Join(dir, "lock"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, 0); err == nil {
		t.Error("locked through a link")
	}
	if b, err := os.ReadFile(victim); string(b) != "precious" {
		t.Error(string(b), err)
	}
}

func TestDefinitionsInDetail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "definitions")
	d, err := NewDefinitions(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "a", "x.yaml"} {
		if err := d.Save(name, []byte("rootfs: /"+name+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	// What others left there is no definition.
	for _, other := range []string{"notes.txt", ".hidden.yaml", ".new-1"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names, err := d.List()
	if err != nil || strings.Join(names, " ") != "a b x.yaml" {
		t.Errorf("got %q, %v", names, err)
	}
	path := filepath.Join(dir, "a.yaml")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode() != 0o600 {
		t.Errorf("mode %v", before.Mode())
	}
	if err := d.Save("a", []byte("rootfs: /a\n")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same source was written again: %v", err)
	}
	if err := d.Save("a", []byte("rootfs: /new\n")); err != nil {
		t.Fatal(err)
	}
	if src, err := d.Load("a"); err != nil || string(src) != "rootfs: /new\n" {
		t.Errorf("got %q, %v", src, err)
	}
	if _, err := NewDefinitions(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".new-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an interrupted write was not swept")
	}
}
