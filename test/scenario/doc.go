// Package scenario tests whole devices: real nodes that meet over loopback, feed locations, change them, are stopped, killed
// and lose their data, and must hold equal rows in the end. Rows are compared by SQL that is not the store's, and every
// store is checked at the end of its test.
//
// With PEERDEX_LONG=1 the same runs with 100,000 and 1,000,000 entries, too.
package scenario
