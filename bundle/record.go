package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	configFile = "config.json"
	recordFile = "bundle.json"

	recordVersion = 1
)

// record is what bundle.json holds: what a bundle was made from, and what its every start needs.
type record struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Hash    string `json:"hash"`
	// Parts are digests of what Hash covers, by the words that users know it by.
	Parts     map[string]string `json:"parts"`
	ConfigSum string            `json:"configSum"` // SHA-256 of config.json
	// Sum is the SHA-256 of this record with an empty Sum, encoded. Records of earlier programs have none.
	Sum       string                `json:"sum,omitempty"`
	Path      string                `json:"path"`
	Resources *specs.LinuxResources `json:"resources"`
	// Archive is what rootfs/ was unpacked from, nil when there is none.
	Archive     *archiveDigest `json:"archive,omitempty"`
	Sources     []hostPath     `json:"sources,omitempty"`
	Secrets     []secretCopy   `json:"secrets,omitempty"`
	Etc         []string       `json:"etc,omitempty"`
	Hostname    string         `json:"hostname,omitempty"`
	HostNetwork bool           `json:"hostNetwork,omitempty"`
	// NetnsOf is the container whose network namespace is used.
	NetnsOf string `json:"netnsOf,omitempty"`
}

func (r *record) encode() ([]byte, error) {
	sum, err := r.sum()
	if err != nil {
		return nil, err
	}
	sealed := *r
	sealed.Sum = sum
	data, err := json.MarshalIndent(&sealed, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", recordFile, err)
	}
	return append(data, '\n'), nil
}

func (r *record) sum() (string, error) {
	plain := *r
	plain.Sum = ""
	data, err := json.Marshal(&plain)
	if err != nil {
		return "", fmt.Errorf("cannot encode %s: %w", recordFile, err)
	}
	return sumOf(data), nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// readRecord returns what lies in a bundle's directory. intact tells whether config.json is the one that goes with it.
func readRecord(dir string) (r *record, intact bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, ErrNotInstalled
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot read what is known of the bundle: %w", err)
	}
	r = &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, false, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, recordFile), err)
	}
	if r.Version != recordVersion {
		return nil, false, fmt.Errorf("%s has version %d, and this program knows %d", filepath.Join(dir, recordFile),
			r.Version, recordVersion)
	}
	if sum, err := r.sum(); err != nil || r.Sum != "" && r.Sum != sum {
		return nil, false, errors.Join(fmt.Errorf("%s is damaged: its checksum is another one", filepath.Join(dir, recordFile)), err)
	}
	r.Sum = "" // it has served
	config, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("cannot read the bundle: %w", err)
	}
	return r, err == nil && sumOf(config) == r.ConfigSum, nil
}
