//! A distribution as a curve: latency over percentile, both logarithmic, as a self-contained SVG.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::text::ns_text;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
/// Room for the axes' texts.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Points of the curve for each halving of the distance to 100 %.
const STEPS: u32 = 10;

/// Draws it.
pub(crate) fn svg(title: &str, histogram: &Histogram<u64>) -> String {
    // Of n events the rarest percentile with a meaning is 1 - 1/n.
    let decades = (histogram.len().max(10) as f64).log10().ceil();
    let (low, high) = (histogram.min().max(1) as f64, histogram.max().max(2) as f64);
    let (low, high) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x = |quantile: f64| {
        let nines = if quantile >= 1.0 { decades } else { (1.0 / (1.0 - quantile)).log10().min(decades) };
        LEFT + nines / decades * (WIDTH - LEFT - RIGHT)
    };
    let y = |ns: f64| TOP + (high - ns.max(1.0).log10()) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for nines in 0..=decades as u32 {
        let quantile = 1.0 - 10f64.powi(-(nines as i32));
        let at = x(quantile);
        let bottom = HEIGHT - BOTTOM;
        let label = match nines {
            0 => "0".to_owned(),
            nines => format!("{:.*}", nines.saturating_sub(2) as usize, quantile * 100.0),
        };
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        );
    }
    for power in low as i32..=high as i32 {
        let at = y(10f64.powi(power));
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            axis_text(power)
        );
    }
    let points: Vec<String> = histogram
        .iter_quantiles(STEPS)
        .map(|step| {
            let ns = step.value_iterated_to().min(histogram.max()) as f64;
            format!("{:.1},{:.1}", x(step.quantile_iterated_to()), y(ns))
        })
        .collect();
    let _ = write!(
        out,
        "<polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"2\" points=\"{}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">percentile of {} events; the largest is {}</text>\n</svg>\n",
        points.join(" "),
        WIDTH / 2.0,
        HEIGHT - 10.0,
        histogram.len(),
        ns_text(histogram.max())
    );
    out
}

fn axis_text(power: i32) -> String {
    let unit = ["ns", "us", "ms", "s", "000 s"][(power / 3).clamp(0, 4) as usize];
    format!("{} {unit}", 10u32.pow((power % 3).max(0) as u32))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_from_the_smallest_to_the_largest_inside_the_picture() {
        let mut histogram = Histogram::<u64>::new(2).expect("two digits");
        for value in 1..=10_000u64 {
            histogram.saturating_record(value * 100);
        }
        let text = svg("a/b <&>", &histogram);
        assert!(
            text.contains("a/b &lt;&amp;&gt;") && text.contains(">99.99<") && text.contains(">1 us<"),
            "{text}"
        );
        let (_, points) = text.split_once("points=\"").expect("a curve");
        let points = points.split_once('"').expect("its end").0;
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| {
                let (x, y) = point.split_once(',').expect("x,y");
                (x.parse().expect("x"), y.parse().expect("y"))
            })
            .collect();
        assert!(points.len() > 20);
        for pair in points.windows(2) {
            assert!(pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1, "{pair:?}");
        }
        assert!(points.iter().all(|(x, y)| (LEFT..=WIDTH).contains(x) && (TOP..=HEIGHT).contains(y)));
    }

    #[test]
    fn one_event_is_a_picture_too() {
        let mut histogram = Histogram::<u64>::new(2).expect("two digits");
        histogram.saturating_record(0);
        assert!(!svg("x", &histogram).contains("NaN"));
        assert!(!svg("x", &Histogram::<u64>::new(2).expect("two digits")).contains("NaN"));
    }
}
