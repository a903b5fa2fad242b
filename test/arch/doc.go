// Package arch holds the rules that keep the tree in shape, as code: which package may import which, what may be
// called where, how long a function or a file may be. Its tests read every Go file of the module with go/parser,
// so they need no build and take well under a second; other tests show, for each rule, a source that breaks it.
//
// A rule is a row with a reason. To change a rule, change the row and its reason; there are no exceptions elsewhere.
package arch
