package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shop is a service around a real postgres: db, a migration, a web service whose page is a query, and a proxy before it. Each
// ends with an error if it cannot reach what it needs, at its start and, but for db, also when it is told to end. All but
// db write +NAME into one file when they have begun, and -NAME when they are told to end; db writes +db.
type shop struct {
	*node
	journal, migration string // files
	page               string // URL of the proxy's
}

// postgresUser is that of Debian's image.
const postgresUser = 999

// Scripts of the shop. They are in /shop.
var shopScripts = map[string]string{
	"db": `[ -e "$PGDATA/PG_VERSION" ] || initdb --no-sync --auth=trust --encoding=UTF8 --locale=C --username=postgres >/dev/null
echo +db >>/journal/order
exec postgres -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c shared_buffers=16MB
`,
	"migration": `psql -q -v ON_ERROR_STOP=1 -f /shop/migration.sql
echo +migration >>/journal/order
`,
	"app": `query() { psql -At -c "select name, (select count(*) from migrations) from goods"; }
query >/dev/null
echo +app >>/journal/order
trap 'query >/dev/null && echo -app >>/journal/order; exit 0' TERM
httpd -f -p "127.0.0.1:$APP_PORT" -h /shop/app.www &
wait
`,
	"app.www/cgi-bin/goods": `goods=$(psql -At -c "select name, (select count(*) from migrations) from goods" 2>&1) || status='503 Service Unavailable'
printf 'Status: %s\r\n\r\n%s\n' "${status-200 OK}" "$goods"
`,
	"proxy": `query() { wget -q -O /dev/null "http://127.0.0.1:$APP_PORT/cgi-bin/goods"; }
query
echo +proxy >>/journal/order
trap 'query && echo -proxy >>/journal/order; exit 0' TERM
httpd -f -p "127.0.0.1:$PROXY_PORT" -h /shop/proxy.www &
wait
`,
	"proxy.www/cgi-bin/goods": `goods=$(wget -q -O - "http://127.0.0.1:$APP_PORT/cgi-bin/goods" 2>&1) || status='502 Bad Gateway'
printf 'Status: %s\r\n\r\n%s\n' "${status-200 OK}" "$goods"
`,
}

// newShop defines a shop, whose migration fails.
func newShop(n *node) *shop {
	n.Helper()
	s := &shop{node: n, journal: filepath.Join(n.dir, "journal", "order"), migration: filepath.Join(n.dir, "shop", "migration.sql")}
	// The programs are the machine's own, with their libraries.
	check(n, os.Mkdir(filepath.Join(n.rootfs, "usr"), 0o755))
	for _, dir := range []string{"lib", "lib64"} {
		check(n, os.Symlink("usr/"+dir, filepath.Join(n.rootfs, dir)))
	}
	writeFile(n, filepath.Join(n.rootfs, "etc/passwd"), fmt.Sprintf("root:x:0:0:root:/:/bin/sh\npostgres:x:%d:%[1]d::/:/bin/sh\n", postgresUser))
	for name, text := range shopScripts {
		file := filepath.Join(n.dir, "shop", name)
		writeFile(n, file, "#!/bin/sh\nset -e\n"+text)
		check(n, os.Chmod(file, 0o755))
	}
	writeFile(n, s.migration, "alter table nothing add price int;\n")
	for _, name := range []string{"journal", "data"} {
		dir := filepath.Join(n.dir, name)
		check(n, os.Mkdir(dir, 0o700))
		check(n, os.Chown(dir, postgresUser, postgresUser))
	}
	appPort, proxyPort := freePort(n), freePort(n)
	s.page = fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/goods", proxyPort)
	common := fmt.Sprintf(`user: postgres
network: host
env: {PATH: "%s:/bin", PGDATA: /data/db, PGHOST: 127.0.0.1, PGPORT: %d, PGUSER: postgres, APP_PORT: %d, PROXY_PORT: %d}
mounts:
- {source: /usr, target: /usr, readOnly: true}
- {source: DIR/shop, target: /shop, readOnly: true}
- {source: DIR/journal, target: /journal}
- {source: DIR/data, target: /data}
restart: {delay: 1s, maxDelay: 1s}
stop: {signal: %%s, timeout: 45s}
`, postgresPrograms(n), freePort(n), appPort, proxyPort)
	service := func(name, signal, more string) {
		n.define(name, fmt.Sprintf("command: [/shop/%s]\n"+common+more, name, signal))
	}
	service("proxy", "TERM", "requires: [app]\nafter: [log]\n")
	service("app", "TERM", fmt.Sprintf("requires: [db, migration]\nhealth: {readiness: {http: {port: %d, path: /cgi-bin/goods}, period: 1s, timeout: 10s}}\n", appPort))
	service("migration", "TERM", "type: oneshot\nrequires: [db]\n")
	service("db", "INT", "health: {readiness: {exec: [pg_isready, -q], period: 500ms, timeout: 10s}}\n")
	n.define("log", "command: [idle]")
	return s
}

// postgresPrograms is where Debian has the programs of the newest version of postgres that is installed.
func postgresPrograms(t testing.TB) string {
	t.Helper()
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	check(t, err)
	if len(servers) == 0 {
		t.Fatal("postgres is missing (on Debian: make deps)")
	}
	return filepath.Dir(slices.Max(servers))
}

// mendMigration lets the migration succeed, however often it runs. It counts that.
func (s *shop) mendMigration() {
	s.Helper()
	replaceFile(s, s.migration, `set client_min_messages = warning;
create table if not exists goods (name text primary key);
insert into goods values ('tea') on conflict do nothing;
create table if not exists migrations (at timestamptz default now());
insert into migrations default values;
`)
}

// wantSold waits until the page, which comes through all of them, says that the migration has run so often.
func (s *shop) wantSold(migrations int) {
	s.Helper()
	want := fmt.Sprintf("tea|%d\n", migrations)
	eventually(s, patience, fmt.Sprintf("the page is %q", want), func() error {
		// Not the node's client, which talks to the daemon.
		answer, err := http.Get(s.page)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK || string(text) != want {
			return fmt.Errorf("%s: %q", answer.Status, text)
		}
		return nil
	})
}

// wantWrote waits until the containers have written just that since the last time.
func (s *shop) wantWrote(when, want string) {
	s.Helper()
	eventually(s, patience, when+": "+want, func() error {
		text, err := os.ReadFile(s.journal)
		if err != nil {
			return err
		}
		if got := strings.Join(strings.Fields(string(text)), " "); got != want {
			return errors.New(got)
		}
		return os.Remove(s.journal)
	})
}

// waitOpen waits until all is up.
func (s *shop) waitOpen() {
	s.Helper()
	s.waitState("proxy", "running")
	s.waitFor("migration", "is done", func(c container) bool { return c.State == "exited" && c.Ready })
}

// wantUndisturbed fails the test unless none of these had ended by itself, and was started again.
func (s *shop) wantUndisturbed(names ...string) {
	s.Helper()
	for _, name := range names {
		if c := s.get(name); c.Restarts != 0 || c.LastExit != nil && c.LastExit.Reason != "stopped" {
			s.Errorf("%s was restarted: %s", name, c.brief())
		}
	}
}
