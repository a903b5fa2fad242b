// Package scrub has the files of all locations read through now and then, so that what decays on a disk is found while
// another device still has it. It knows neither store nor network: both are functions in [Config].
//
// Each file is checked once a week, the first time a week after it came, give or take a tenth, so that those that came
// together are not checked together. When that was is remembered by whoever lists the files, so a restart changes nothing.
// One is checked at a time, and only while nothing else goes on: [Activity] knows about scans, transfers and requests. A
// check pauses when work comes, and takes a tenth of one core. A file that is due for a second week, since there was
// always something going on, is checked beside the work.
//
// A file in which damage was met is checked at once, at full speed: see [Scrubber.Suspect].
package scrub
