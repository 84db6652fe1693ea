//! Percentile distributions as text, in the format of the HdrHistogram tools (`.hgrm`), which
//! plotters read.
//!
//! The format is that of the Java tool's `outputPercentileDistribution` with five steps per halving
//! and values in ns.

use std::fmt::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;
use railbus::{Error, Result};

const STEPS_PER_HALVING: u32 = 5;

/// The distribution as text.
pub fn text(histogram: &Histogram<u64>) -> String {
    let digits = usize::from(histogram.sigfig());
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALVING) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
        let _ = write!(out, "{value:12.digits$} {quantile:2.12} {total:10}");
        if quantile < 1.0 {
            let _ = write!(out, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        out.push('\n');
    }
    let sub_buckets = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let (mean, deviation, max) = (histogram.mean(), histogram.stdev(), histogram.max() as f64);
    let (count, buckets) = (histogram.len(), histogram.buckets());
    let _ = writeln!(out, "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]");
    let _ = writeln!(out, "#[Max     = {max:12.digits$}, Total count    = {count:12}]");
    let _ = writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    out
}

/// Writes the distribution to a file, replacing it.
pub fn write(path: &Path, histogram: &Histogram<u64>) -> Result<()> {
    std::fs::write(path, text(histogram)).map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of the Java tool for these three values.
    const GOLDEN: &str = "       Value     Percentile TotalCount 1/(1-Percentile)

      25.000 0.000000000000          1           1.00
      25.000 0.100000000000          1           1.11
      25.000 0.200000000000          1           1.25
      25.000 0.300000000000          1           1.43
      50.000 0.400000000000          2           1.67
      50.000 0.500000000000          2           2.00
      50.000 0.550000000000          2           2.22
      50.000 0.600000000000          2           2.50
      50.000 0.650000000000          2           2.86
      75.000 0.700000000000          3           3.33
      75.000 1.000000000000          3
#[Mean    =       50.000, StdDeviation   =       20.412]
#[Max     =       75.000, Total count    =            3]
#[Buckets =           30, SubBuckets     =         2048]
";

    #[test]
    fn the_text_is_what_the_other_tools_write() {
        let mut histogram = super::super::statistics::histogram();
        for value in [25, 50, 75] {
            histogram.saturating_record(value);
        }
        assert_eq!(text(&histogram), GOLDEN);
    }

    #[test]
    fn an_unwritable_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("missing/out.hgrm");
        let error = write(&path, &super::super::statistics::histogram()).expect_err("no such folder");
        assert!(error.to_string().contains("out.hgrm"), "{error}");
    }
}
