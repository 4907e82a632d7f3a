package records

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

var bootIDForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// LoadBoot reads from a file in which boot the directory around it was last used. The error is fs.ErrNotExist if nobody has noted
// that, and wraps ErrDamaged if it is not what was saved.
func LoadBoot(file string) (bootID string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot tell of which boot a directory is: %w", err)
	}
	bootID, sum, marked := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	if !bootIDForm.MatchString(bootID) || marked && sum != checksum([]byte(bootID)) { // earlier programs wrote no checksum
		return "", fmt.Errorf("cannot tell of which boot a directory is: %s: %w", file, ErrDamaged)
	}
	return bootID, nil
}

// SaveBoot writes what LoadBoot reads.
func SaveBoot(file, bootID string) error {
	if err := replace(file, []byte(bootID+" "+checksum([]byte(bootID))+"\n"), false); err != nil {
		return fmt.Errorf("cannot note the boot: %w", err)
	}
	return nil
}
