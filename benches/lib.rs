//! Benches of railbus; see the `benches` targets.
