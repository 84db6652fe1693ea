module conformance

go 1.24

require railbus v0.0.0

replace railbus => ../../bindings/go
