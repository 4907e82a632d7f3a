package top

import (
	"slices"

	"github.com/gdamore/tcell/v2"
)

// view is what is shown: the last two samples and what the user chose. It belongs to the loop.
type view struct {
	cpus          int
	order         Order
	reverse       bool
	before, now   *sample
	rows          []Row
	err           error // of the last try to get a sample
	selected      string
	first         int // row that is seen at the top
	detail        bool
	details       Details
	detailsOf     string
	pane          bool // the selected container is shown below the table
	quit, refresh bool
}

// take shows a new sample.
func (v *view) take(s *sample, err error) {
	v.err = err
	if err != nil {
		return
	}
	v.before, v.now = v.now, s
	v.arrange()
}

// tell shows what else is known of a container, if it is still the selected one.
func (v *view) tell(name string, d Details) {
	if name == v.selected {
		v.details, v.detailsOf = d, name
	}
}

func (v *view) arrange() {
	if v.now == nil {
		return
	}
	v.rows = rows(v.before, v.now)
	arrange(v.rows, v.order, v.reverse, v.now.at)
	if v.row(v.selected) == nil && len(v.rows) > 0 && !v.detail {
		v.selected = v.rows[min(v.first, len(v.rows)-1)].Name
	}
}

// index is the selected row's.
func (v *view) index() int {
	return max(0, slices.IndexFunc(v.rows, func(r Row) bool { return r.Name == v.selected }))
}

func (v *view) move(by int) {
	if len(v.rows) == 0 {
		return
	}
	v.selected = v.rows[max(0, min(v.index()+by, len(v.rows)-1))].Name
	if v.detailsOf != v.selected {
		v.details, v.detailsOf = Details{}, ""
	}
	v.refresh = v.refresh || v.detail || v.pane
}

// sortBy sorts by something, or the other way round if it is that already.
func (v *view) sortBy(o Order) {
	v.reverse = v.order == o && !v.reverse
	v.order = o
	v.arrange()
}

var orderKeys = map[rune]Order{'n': ByName, 's': ByState, 'c': ByCPU, 'm': ByMemory, 'r': ByRestarts, 'u': ByUptime}

// key does what a key says. page is how many rows are seen.
func (v *view) key(k *tcell.EventKey, page int) {
	switch k.Key() {
	case tcell.KeyCtrlC:
		v.quit = true
	case tcell.KeyUp:
		v.move(-1)
	case tcell.KeyDown:
		v.move(1)
	case tcell.KeyPgUp:
		v.move(-page)
	case tcell.KeyPgDn:
		v.move(page)
	case tcell.KeyHome:
		v.move(-len(v.rows))
	case tcell.KeyEnd:
		v.move(len(v.rows))
	case tcell.KeyEnter, tcell.KeyRight:
		v.open()
	case tcell.KeyEscape, tcell.KeyLeft, tcell.KeyBackspace, tcell.KeyBackspace2:
		v.detail = false
	case tcell.KeyRune:
		v.runeKey(k.Rune())
	}
}

func (v *view) open() {
	if !v.detail && len(v.rows) > 0 {
		v.detail, v.refresh = true, true
	}
}

func (v *view) runeKey(r rune) {
	if order, ok := orderKeys[r]; ok && !v.detail {
		v.sortBy(order)
		return
	}
	switch r {
	case 'q':
		v.quit = true
	case 'k':
		v.move(-1)
	case 'j':
		v.move(1)
	case 'g':
		v.move(-len(v.rows))
	case 'G':
		v.move(len(v.rows))
	case 'R':
		v.reverse = !v.reverse
		v.arrange()
	case ' ':
		v.refresh = true
	}
}

// draw shows it.
func (v *view) draw(screen tcell.Screen) {
	width, height := screen.Size()
	c := &canvas{screen: screen, width: width, height: height, mono: screen.Colors() == 0}
	screen.Clear()
	if v.detail {
		v.drawDetail(c)
	} else {
		v.drawTable(c)
	}
	screen.Show()
}
