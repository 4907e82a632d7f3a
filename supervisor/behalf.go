package supervisor

import "context"

type behalfKey struct{}

// OnBehalfOf returns a context in which commands are given for somebody, whom the events that come of them name: "alice".
func OnBehalfOf(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, behalfKey{}, who)
}

// Behalf is whom OnBehalfOf named, empty for nobody.
func Behalf(ctx context.Context) string {
	who, _ := ctx.Value(behalfKey{}).(string)
	return who
}

// behalf is a command that somebody gives.
type behalf struct {
	command
	who string
}

func (b behalf) do(c *container) {
	c.causes.by = b.who
	b.command.do(c)
	c.causes.by = ""
}

// whom is on whose behalf, or because of which other container, it was what an event tells.
func (c *causes) whom(e Event) string {
	switch {
	case e.Cause != CauseHand && e.Cause != CauseDependency:
		return ""
	case e.Type == EventStarted:
		return c.startBy
	case e.Type == EventStopped, e.Type == EventCancelled:
		return c.stopBy
	}
	return c.by
}
