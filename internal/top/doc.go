// Package top shows containers live in a terminal: a table that can be sorted, and one container with all that is known of
// it. It is what runcsup top does.
//
// It asks its Source again and again, draws what it got, and promises to leave the terminal as it was. It changes no
// container. A daemon that is away is shown as such and asked again.
package top
