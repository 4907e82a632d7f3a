// Package e2e holds the tests of the built binary with real runtimes. It has tests only and imports nothing of the
// project: what it knows of the program is what users know, the command line, the control socket and the files.
//
// RUNCSUP_BINARY names the binary; without it one is built. RUNCSUP_E2E_RUNTIME names the runtime, runc by default. The
// tests need root. Whatever happens to them, nothing stays behind: see guardian in main_test.go.
package e2e
