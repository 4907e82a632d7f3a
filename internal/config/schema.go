package config

import (
	"bytes"
	_ "embed"
)

//go:embed definition.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of a definition, for editors. It refuses what Parse refuses, but for what
// a schema cannot express (docs/definition.md lists that).
func Schema() []byte { return bytes.Clone(schema) }
