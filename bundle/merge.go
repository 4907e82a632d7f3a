package bundle

// mergePatch applies a JSON merge patch (RFC 7396, section 2) and returns the result. Neither argument is changed, but
// the result shares values with both.
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if object, ok := target.(map[string]any); ok {
		for key, value := range object {
			out[key] = value
		}
	}
	for key, value := range changes {
		if value == nil {
			delete(out, key)
			continue
		}
		out[key] = mergePatch(out[key], value)
	}
	return out
}
