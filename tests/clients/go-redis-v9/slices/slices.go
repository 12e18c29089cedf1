// Package slices stands in for Go's own, which came with Go 1.21: go-redis 9.17 says that Go 1.18 is enough for it, and uses this one
// function all the same.
package slices

// Contains tells whether wanted is one of items.
func Contains[E comparable](items []E, wanted E) bool {
	for _, item := range items {
		if item == wanted {
			return true
		}
	}
	return false
}
