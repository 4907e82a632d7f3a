package logs

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The phases of work. They say what the next daemon has to do when this one is killed.
const (
	phaseIdle     = 0 // nothing is under way
	phaseStoring  = 1 // a batch may be stored in part: its bytes are still in the FIFO, and are stored again in the same way
	phaseTaking   = 2 // it is stored; its bytes may or may not have been taken out of the FIFO
	phaseCarrying = 3 // half a line may or may not have been taken out of the FIFO, to carry
)

// record is what is kept of a container's output across daemons, in a file of its own in the run directory that is mapped
// into memory: a store to memory is in the page cache, whatever happens to the process then. It need not outlive the
// machine, because the FIFOs do not.
//
// Whether bytes were taken cannot be asked of a FIFO. So the read that takes them puts the first one into memory of this
// kind that was filled with its complement before; the kernel does not end a process in the middle of such a read.
type record struct {
	magic  uint64
	phase  uint32
	driver uint32 // of the batch: recordFile, recordJournal
	stream uint32 // index of Streams
	size   uint32 // bytes of the FIFO
	time   int64  // of the batch's first piece, Unix nanoseconds; each further one is a nanosecond later
	inode  uint64 // file: which,
	offset int64  // where in it,
	length int64  // and how long the batch is there
	sent   uint32 // journal: pieces that were sent
	first  uint8  // first byte of those of the FIFO
	taken  uint8
	_      [2]byte

	lastTime int64     // of the last piece stored
	ordinal  uint64    // journal: of the last piece stored
	carried  [2]uint32 // by stream: bytes of a line without its end, in the stream's carry
	carryTo  uint32    // what carried becomes when size bytes were taken
	_        uint32
	mid      [2]uint32 // by stream: the last piece was not the end of its line
	bytes    [2]uint64 // by stream, since the boot
	lines    [2]uint64
}

const (
	recordMagic = 0x31676f6c70736372 // "rcsplog1"
	pageBytes   = 4096

	recordFile    = 0
	recordJournal = 1
)

// position is a container's record, mapped.
type position struct {
	*record
	page *memoryFile
}

// openPosition maps the record in a file, a new one if it is not there or not one.
func openPosition(path string) (*position, error) {
	page, err := openMemory(path, pageBytes)
	if err == nil {
		err = page.grow(pageBytes)
	}
	if err != nil {
		return nil, err
	}
	p := &position{record: (*record)(unsafe.Pointer(&page.memory[0])), page: page}
	if p.magic != recordMagic || p.phase > phaseCarrying || p.stream > 1 || p.driver > recordJournal || p.size > batchBytes || p.offset < 0 ||
		p.length < 0 || p.carried[0] > MaxLine || p.carried[1] > MaxLine || p.carryTo > MaxLine || p.phase == phaseCarrying && p.size > p.carryTo {
		*p.record = record{magic: recordMagic}
	}
	return p, nil
}

// setPhase is a barrier, too: what was written before it is seen by whoever sees the phase.
func (p *position) setPhase(phase uint32) { atomic.StoreUint32(&p.phase, phase) }

// isMid tells whether what was taken of a stream ends within a line.
func (p *position) isMid(stream int) bool {
	return atomic.LoadUint32(&p.mid[stream]) != 0 || atomic.LoadUint32(&p.carried[stream]) != 0
}

// nextTime is the time for the first of the pieces of a batch. Times of a container's pieces rise strictly, so that one
// names a piece, unless the clock was put back.
func (p *position) nextTime(now time.Time, pieces int) int64 {
	t := now.UnixNano()
	if p.lastTime >= t && p.lastTime-t < int64(time.Second)+int64(pieces) {
		t = p.lastTime + 1
	}
	return t
}

// begin notes a batch that is about to be stored.
func (p *position) begin(b *batch, driver uint32) {
	p.driver, p.stream, p.size, p.time, p.sent = driver, uint32(b.stream), uint32(len(b.fresh())), b.time, 0
	p.first = firstOf(b.fresh())
	p.setPhase(phaseStoring)
}

func firstOf(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// stored notes that a batch is where it belongs, or as much of it as is left in b.
func (p *position) stored(b *batch) {
	p.size = uint32(len(b.fresh()))
	p.taken = ^p.first
	if p.size == 0 {
		p.taken = p.first
	}
	mid := uint32(0)
	if b.data[len(b.data)-1] != '\n' {
		mid = 1
	}
	atomic.StoreUint32(&p.mid[b.stream], mid)
	p.lastTime = b.time + int64(b.pieces) - 1
	if p.driver == recordJournal {
		p.ordinal += uint64(b.pieces)
	}
	p.setPhase(phaseTaking)
}

// done notes that a batch was taken, and with it what was carried.
func (p *position) done() {
	atomic.StoreUint32(&p.carried[p.stream], 0)
	p.setPhase(phaseIdle)
}

// carrying notes that a stream's half line is about to be taken.
func (p *position) carrying(stream int, first byte, size int) {
	p.stream, p.size, p.first, p.carryTo = uint32(stream), uint32(size), first, p.carried[stream]+uint32(size)
	p.setPhase(phaseCarrying)
}

// carriedOn notes that it was.
func (p *position) carriedOn() {
	atomic.StoreUint32(&p.carried[p.stream], p.carryTo)
	p.setPhase(phaseIdle)
}

// count adds a batch to the counters.
func (p *position) count(b *batch) {
	atomic.AddUint64(&p.bytes[b.stream], uint64(len(b.data)))
	atomic.AddUint64(&p.lines[b.stream], uint64(b.lines))
}

// memoryFile is a file mapped into memory. What is to be used of it has to be there first (grow): a full file system is an
// error then, and not a SIGBUS.
type memoryFile struct {
	file   *os.File
	memory []byte
	size   int
}

// openMemory maps up to limit bytes of a file, which is made if it is not there.
func openMemory(path string, limit int) (*memoryFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the position in a container's output: %w", err)
	}
	m := &memoryFile{file: f}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		m.size = int(min(info.Size(), int64(limit)))
		var fd int
		if fd, err = descriptor(f); err == nil {
			m.memory, err = unix.Mmap(fd, 0, limit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("cannot map the position in a container's output: %w", err)
	}
	return m, nil
}

// grow makes sure that the first n bytes can be used.
func (m *memoryFile) grow(n int) error {
	n = (n + pageBytes - 1) / pageBytes * pageBytes
	if n <= m.size {
		return nil
	}
	if _, err := m.file.WriteAt(make([]byte, n-m.size), int64(m.size)); err != nil {
		return fmt.Errorf("no room for the position in a container's output: %w", err)
	}
	m.size = n
	return nil
}

func (m *memoryFile) close() {
	_ = unix.Munmap(m.memory)
	_ = m.file.Close() // all that counts is in memory
}
