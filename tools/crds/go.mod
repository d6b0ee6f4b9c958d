// YAML that other projects ship inside their module zips: CustomResourceDefinitions for localkube.crds.
// Nothing is compiled from here; versions are held by go.sum. Not for `go mod tidy`, which sees no import.
module roadstead.dev/tools/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
