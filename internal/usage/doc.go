// Package usage tells what a container uses: CPU, memory, processes, I/O and how long it waited for them (PSI), from the
// files of its cgroup, on cgroup v1, v2 and both at once.
//
// It reads only the files that it needs, without a library that reads all there are (25 times the cost), and promises that
// a cgroup that is gone is ErrGone and never zeros. It changes nothing. The metrics and the control API call it.
package usage
