//! Plots as SVG, inside the page: no script, nothing from elsewhere.

use std::fmt::Write as _;

use crate::sampler::Series;
use crate::spread::Spread;

/// A distribution, from its median to its largest value.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Of what.
    pub name: &'static str,
    /// How many nines, 0 for the median's half, and the value there.
    points: Vec<(f64, f64)>,
}

/// Where the percentiles of a curve lie: `1 - quantile` halves from point to point, down to one in a hundred thousand.
const HALVINGS: i32 = 17;

/// Outer size, and the room for numbers at the left and below.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 62.0;
const BELOW: f64 = 28.0;
const MARGIN: f64 = 8.0;

/// The curve of a distribution; `None` when it has fewer than ten values.
pub fn curve_of(name: &'static str, spread: &Spread) -> Option<Curve> {
    let count = spread.count();
    (count >= 10).then(|| {
        let rest = |halving: i32| 0.5_f64.powi(halving);
        let known = (0..=HALVINGS).map(rest).take_while(|rest| rest * count as f64 >= 1.0);
        let points = known.map(|rest| (-rest.log10(), spread.at(1.0 - rest))).collect();
        Curve { name, points }
    })
}

/// A distribution by its percentiles, the rare ones spread out.
pub fn of_curve(curve: &Curve) -> String {
    let nines = [(0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")];
    draw(curve.name, &curve.points, &nines)
}

/// A quantity over time.
pub fn of_series(series: &Series) -> String {
    let end = series.points.last().map_or(1.0, |(at, _)| *at);
    let marks = [(0.0, "0 s".to_owned()), (end / 2.0, format!("{:.0} s", end / 2.0)), (end, format!("{end:.0} s"))];
    let marks: Vec<(f64, &str)> = marks.iter().map(|(at, text)| (*at, text.as_str())).collect();
    draw(series.name, &series.points, &marks)
}

fn draw(name: &str, points: &[(f64, f64)], marks: &[(f64, &str)]) -> String {
    let right = points.iter().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
    let top = nice(points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
    let x = |value: f64| LEFT + value / right * (WIDTH - LEFT - MARGIN);
    let y = |value: f64| HEIGHT - BELOW - value / top * (HEIGHT - BELOW - MARGIN);
    let mut svg = format!(
        "<figure><figcaption>{name}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">"
    );
    // Writing to a string can't fail.
    for part in [0.0, 0.5, 1.0] {
        let (at, value) = (y(top * part), short(top * part));
        let _written = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            WIDTH - MARGIN,
            LEFT - 4.0,
            at + 4.0
        );
    }
    for (at, text) in marks.iter().filter(|(at, _)| *at <= right) {
        let _written = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{text}</text>",
            x(*at),
            HEIGHT - MARGIN,
            if *at >= right * 0.95 { "end" } else { "middle" }
        );
    }
    let line: Vec<String> = points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
    let _written = write!(svg, "<polyline points=\"{}\"/></svg></figure>", line.join(" "));
    svg
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn nice(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_there_are_no_values_for_its_percentiles() {
        let mut spread = Spread::default();
        assert_eq!(curve_of("delay_ms", &spread), None);
        (1..=1_000).for_each(|value| spread.record(f64::from(value)));
        let curve = curve_of("delay_ms", &spread).unwrap();
        assert_eq!(curve.points.len(), 10, "down to one of 512");
        assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn a_plot_stays_within_its_frame() {
        let series = Series { name: "resident_mib", points: vec![(0.0, 3.0), (1.0, 0.0), (2.0, 7.5)] };
        let svg = of_series(&series);
        assert!(svg.contains("points=\"62.0,") && svg.contains(">10<") && svg.contains("2 s"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn axes_end_with_round_numbers() {
        assert_eq!((nice(7.5), nice(10.0), nice(11.0), nice(0.3)), (10.0, 10.0, 20.0, 0.5));
    }
}
