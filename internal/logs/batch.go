package logs

import (
	"bytes"
	"iter"
	"sync"
	"time"
)

// MaxLine is the longest line, in bytes without its end, that is stored as one. Longer ones are stored in pieces of that
// size, all but the last marked as partial. It is docker's and containerd's limit, too.
const MaxLine = 16 << 10

const (
	// batchBytes is how much is looked at at once. It is the size of a FIFO.
	batchBytes = 64 << 10
	// batchPieces bounds what a batch of very short lines grows to: each gets a header.
	batchPieces = 8 << 10
)

// batch is what is stored at once: bytes from the head of a FIFO.
type batch struct {
	stream  int // index of Streams
	data    []byte
	carried int   // bytes at the beginning of data that are not in the FIFO any more
	time    int64 // of its first piece, Unix nanoseconds
	pieces  int
	lines   int // that end in it
}

// fill takes as much of data as goes into one batch: whole lines, and of a line that is too long whole pieces. It may be
// nothing: a line whose end has yet to come.
func (b *batch) fill(data []byte) {
	end := bytes.LastIndexByte(data, '\n') + 1
	if rest := data[end:]; len(rest) > MaxLine {
		end += (len(rest) - 1) / MaxLine * MaxLine
	}
	b.cut(data[:end])
}

// fresh is what of the batch is in the FIFO.
func (b *batch) fresh() []byte { return b.data[min(b.carried, len(b.data)):] }

// cut makes data the batch's, or its beginning if it is in too many pieces.
func (b *batch) cut(data []byte) {
	b.pieces, b.lines = 0, 0
	end := 0
	for text, whole := range pieces(data) {
		end += len(text)
		if whole {
			end++
			b.lines++
		}
		if b.pieces++; b.pieces == batchPieces {
			break
		}
	}
	b.data = data[:end]
}

// pieces yields the lines in data without their ends, those that are too long in pieces. whole says that the piece is the
// end of its line, which only the last one of data need not be.
func pieces(data []byte) iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		for len(data) > 0 {
			end := bytes.IndexByte(data, '\n')
			text, whole := data, end >= 0
			if whole {
				text = data[:end]
			}
			if len(text) > MaxLine {
				text, whole = text[:MaxLine], false
			}
			data = data[len(text):]
			if whole {
				data = data[1:]
			}
			if !yield(text, whole) {
				return
			}
		}
	}
}

// clock writes the times of a batch's pieces, each a nanosecond later than the one before.
type clock struct {
	next int64
	text []byte
}

func (c *clock) set(t int64) {
	c.next = t
	c.text = time.Unix(0, t).UTC().AppendFormat(c.text[:0], timeLayout)
}

// step goes on by a nanosecond. Most of the time only the last digit changes.
func (c *clock) step() {
	c.next++
	for i := len(c.text) - 2; c.text[i] != '.'; i-- {
		if c.text[i]++; c.text[i] <= '9' {
			return
		}
		c.text[i] = '0'
	}
	c.set(c.next) // the next second
}

// appendCRI appends the batch as CRI has it, "TIME STREAM F|P TEXT\n" for each piece.
func (b *batch) appendCRI(out []byte) []byte {
	c := clock{text: make([]byte, 0, len(timeLayout))}
	c.set(b.time)
	whole, part := " "+Streams[b.stream]+" F ", " "+Streams[b.stream]+" P "
	for text, last := range pieces(b.data) {
		out = append(out, c.text...)
		if last {
			out = append(out, whole...)
		} else {
			out = append(out, part...)
		}
		out = append(out, text...)
		out = append(out, '\n')
		c.step()
	}
	return out
}

// shorten keeps of the batch the pieces that are in the first n bytes of what appendCRI makes of it.
func (b *batch) shorten(n int) {
	header := len(timeLayout) + len(Streams[b.stream]) + len("  F \n")
	end := 0
	for text, whole := range pieces(b.data) {
		if n -= header + len(text); n < 0 {
			break
		}
		end += len(text)
		if whole {
			end++
		}
	}
	b.cut(b.data[:end])
}

// workspace is the memory that work on a batch needs. It belongs to no container.
type workspace struct {
	mirror *mirror
	data   []byte // what is in the FIFO; where it goes when it is taken, too
	framed []byte // what goes to the file
}

// workspaces are made when they are needed, and kept for a while: as many as containers write at the same time.
type workspaces struct {
	mu   sync.Mutex
	free []*workspace
}

// keptWorkspaces is how many are kept when nobody needs them.
const keptWorkspaces = 2

func (w *workspaces) get() (*workspace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free = w.free[:n-1]
		return s, nil
	}
	m, err := newMirror()
	if err != nil {
		return nil, err
	}
	return &workspace{mirror: m, data: make([]byte, MaxLine+batchBytes)}, nil
}

func (w *workspaces) put(s *workspace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) >= keptWorkspaces {
		s.mirror.close()
		return
	}
	if cap(s.framed) > 4*batchBytes {
		s.framed = nil
	}
	w.free = append(w.free, s)
}

func (w *workspaces) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.free {
		s.mirror.close()
	}
	w.free = nil
}
