package app

import "runtime/debug"

// version is the release that this code belongs to.
const version = "0.1.0"

// Version returns the release, and the revision it was built from where the Go
// toolchain recorded one.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return version + "+" + s.Value[:12]
		}
	}
	return version
}
