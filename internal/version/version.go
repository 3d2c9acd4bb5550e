// Package version holds the version that `make build` puts in.
package version

// Version is what `git describe` said when the binary was built.
var Version = "development"
