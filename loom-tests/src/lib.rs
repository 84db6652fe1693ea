//! Loom models and crash models of the rings.
