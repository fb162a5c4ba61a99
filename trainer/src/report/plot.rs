//! Line plots as SVG text, coloured through CSS variables so that one file suits a light and a dark screen.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One line of a plot: a label and its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// (x, y) in drawing order; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A labelled line.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.into(),
            points,
        }
    }
}

/// Which scale an axis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// Both axes linear.
    Linear,
    /// Both axes logarithmic; points at or below zero are left out.
    Log,
}

// plotters knows colours only as RGB, so each role is drawn in a colour nobody else uses and then renamed to its CSS variable.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const SERIES: [RGBColor; 6] = [
    RGBColor(3, 3, 3),
    RGBColor(4, 4, 4),
    RGBColor(5, 5, 5),
    RGBColor(6, 6, 6),
    RGBColor(7, 7, 7),
    RGBColor(8, 8, 8),
];

/// CSS that gives the colours of [`svg`] their light and dark values.
pub const PLOT_CSS: &str = "\
:root{--ink:#1f2328;--grid:#d8dee4;--s0:#0969da;--s1:#cf222e;--s2:#1a7f37;--s3:#8250df;--s4:#bf8700;--s5:#57606a}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--grid:#30363d;--s0:#58a6ff;--s1:#ff7b72;--s2:#3fb950;--s3:#bc8cff;--s4:#d29922;--s5:#8b949e}}
";

/// Draws `series` over one pair of axes and returns a complete `<svg>` element.
///
/// # Errors
/// When no series has a point that can be drawn on these axes.
pub fn svg(
    title: &str,
    x_label: &str,
    y_label: &str,
    axes: Axes,
    series: &[Series],
) -> Result<String> {
    let series: Vec<Series> = series
        .iter()
        .map(|s| {
            Series::new(
                s.label.clone(),
                s.points
                    .iter()
                    .copied()
                    .filter(|p| drawable(*p, axes))
                    .collect(),
            )
        })
        .filter(|s| !s.points.is_empty())
        .collect();
    let all = || series.iter().flat_map(|s| s.points.iter().copied());
    if all().next().is_none() {
        return Err(anyhow!("plot `{title}`: no points to draw"));
    }
    let (x, y) = (
        range(all().map(|p| p.0), axes),
        range(all().map(|p| p.1), axes),
    );
    let mut text = String::new();
    match axes {
        Axes::Linear => draw(
            &mut text,
            title,
            x_label,
            y_label,
            x.0..x.1,
            y.0..y.1,
            &series,
        ),
        Axes::Log => draw(
            &mut text,
            title,
            x_label,
            y_label,
            (x.0..x.1).log_scale(),
            (y.0..y.1).log_scale(),
            &series,
        ),
    }
    .map_err(|e| anyhow!("plot `{title}`: {e}"))?;
    Ok(name_colours(&text, title))
}

fn drawable(point: (f64, f64), axes: Axes) -> bool {
    point.0.is_finite()
        && point.1.is_finite()
        && (axes == Axes::Linear || (point.0 > 0.0 && point.1 > 0.0))
}

/// Smallest and largest value with a little air; never empty, so that one point still has axes.
fn range(values: impl Iterator<Item = f64>, axes: Axes) -> (f64, f64) {
    let (mut low, mut high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    match axes {
        Axes::Linear => {
            let air = if high > low {
                (high - low) * 0.04
            } else {
                low.abs().max(1.0) * 0.05
            };
            low -= air;
            high += air;
        }
        Axes::Log => {
            low /= 1.15;
            high *= 1.15;
        }
    }
    (low, high)
}

fn draw<X, Y>(
    text: &mut String,
    title: &str,
    x_label: &str,
    y_label: &str,
    x: X,
    y: Y,
    series: &[Series],
) -> Result<(), Box<dyn std::error::Error>>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let root = SVGBackend::with_string(text, (720, 340)).into_drawing_area();
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, font(18))
        .margin(10)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(13))
        .axis_desc_style(font(14))
        .x_desc(x_label)
        .y_desc(y_label)
        .x_label_formatter(&|v| short(*v))
        .y_label_formatter(&|v| short(*v))
        .draw()?;
    for (index, one) in series.iter().enumerate() {
        let colour = SERIES[index % SERIES.len()];
        let drawn = chart.draw_series(LineSeries::new(
            one.points.iter().copied(),
            colour.stroke_width(2),
        ))?;
        drawn
            .label(one.label.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        // A handful of points (evaluations, a sweep) is read point by point, thousands of steps are not.
        if one.points.len() <= 40 {
            chart.draw_series(
                one.points
                    .iter()
                    .map(|p| Circle::new(*p, 3, colour.filled())),
            )?;
        }
    }
    if series.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .border_style(GRID)
            .label_font(font(13))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

/// At most four significant digits, with an exponent only where it shortens.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_string()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text
        }
    }
}

fn name_colours(svg: &str, title: &str) -> String {
    let mut out = svg
        .replace("#010101", "var(--ink)")
        .replace("#020202", "var(--grid)");
    for index in 0..SERIES.len() {
        let n = index + 3;
        out = out.replace(&format!("#0{n}0{n}0{n}"), &format!("var(--s{index})"));
    }
    let label = super::html::escape(title);
    out.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{label}\" "),
        1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_lines_labels_and_no_fixed_colour() {
        let a = Series::new(
            "train",
            (0..100)
                .map(|i| (i as f64, 1.0 / (1.0 + i as f64)))
                .collect(),
        );
        let b = Series::new("valid", vec![(10.0, 0.5), (90.0, 0.2)]);
        let text = svg("loss & more", "step", "loss", Axes::Linear, &[a, b]).unwrap();
        assert!(
            text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"),
            "{text}"
        );
        assert_eq!(
            text.matches("stroke=\"var(--s0)\"").count(),
            2,
            "the line and its legend"
        );
        assert!(
            text.contains("train") && text.contains("valid") && text.contains("loss &amp; more")
        );
        assert!(!text.contains("#0"), "a colour escaped its CSS variable");
    }

    #[test]
    fn points_that_cannot_be_drawn_are_left_out_and_none_is_an_error() {
        let s = Series::new("x", vec![(0.0, 1.0), (f64::NAN, 2.0), (4.0, f64::INFINITY)]);
        assert!(svg("t", "x", "y", Axes::Linear, std::slice::from_ref(&s)).is_ok());
        let error = svg("t", "x", "y", Axes::Log, &[s]).unwrap_err().to_string();
        assert!(error.contains("no points"), "{error}");
    }

    #[test]
    fn numbers_stay_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.5e-5, "1.5e-5"),
            (0.25, "0.25"),
            (1234.0, "1234"),
            (0.12344, "0.1234"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
