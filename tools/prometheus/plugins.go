// Package plugins replaces Prometheus' list of service discoveries when we build it: only what the tests scrape with.
// The other twenty-two bring the SDK of every cloud and most of the compile time.
package plugins

import (
	_ "github.com/prometheus/prometheus/discovery/dns"
	_ "github.com/prometheus/prometheus/discovery/kubernetes"
)
