package control

// Routes are those of the server, "GET /v1/version".
func Routes() []string {
	all := make([]string, len(routes))
	for i, rt := range routes {
		all[i] = rt.method + " " + rt.path
	}
	return all
}
