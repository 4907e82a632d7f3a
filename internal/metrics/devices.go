package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// deviceNames knows block devices by their numbers.
type deviceNames struct {
	mu    sync.Mutex
	known map[[2]uint32]string
}

func newDeviceNames() *deviceNames { return &deviceNames{known: map[[2]uint32]string{}} }

// maxDevices bounds what is remembered: numbers of disks that come and go are used again.
const maxDevices = 1024

// name is "/dev/sda", or "8:0" for a device that the kernel does not know any more.
func (d *deviceNames) name(major, minor uint32) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := [2]uint32{major, minor}
	if name, ok := d.known[key]; ok {
		return name
	}
	name := fmt.Sprintf("%d:%d", major, minor)
	if target, err := os.Readlink("/sys/dev/block/" + name); err == nil {
		name = "/dev/" + filepath.Base(target)
	}
	if len(d.known) >= maxDevices {
		clear(d.known)
	}
	d.known[key] = name
	return name
}
