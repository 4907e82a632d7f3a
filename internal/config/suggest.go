package config

import (
	"strings"
)

// suggest returns the candidate that the writer most likely meant, or "".
func suggest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", 4
	for _, c := range candidates {
		limit := 1 + len(c)/3
		if d := distance(lower, strings.ToLower(c)); d <= min(limit, 3) && d < bestDistance && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean is the end of a message about an unknown word, or "".
func didYouMean(word string, candidates []string) string {
	if s := suggest(word, candidates); s != "" {
		return `, did you mean "` + s + `"?`
	}
	return ""
}

// distance counts the insertions, deletions, substitutions and swaps of adjacent letters that turn one word into the other.
func distance(from, to string) int {
	a, b := []rune(from), []rune(to)
	var before []int // the row two above
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
