//! Charts of lines, as SVG: one look for all pictures. The legend stands beside the plot, where it
//! covers nothing, and the background is white, so that a dark page shows the same picture.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Outcome;
use crate::series::Series;

const SIZE: (u32, u32) = (1000, 460);
/// Width of the legend's column, pixels.
const LEGEND: i32 = 270;
const FONT: &str = "sans-serif";
/// In plotters' measure, which the SVG divides by 1.24.
const TEXT: i32 = 17;
const TITLE: i32 = 22;
/// Of the plot, pixels: left of it and above it are the marks' labels and the title.
const LEFT: u32 = 82;
const TOP: u32 = 44;
const MARGIN: u32 = 12;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Colours that people who confuse red and green tell apart.
pub const OURS: RGBColor = RGBColor(0x1b, 0x5e, 0xb8);
pub const OURS_TOO: RGBColor = RGBColor(0x2a, 0xa1, 0x98);
pub const DBLINK: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
pub const PLAIN: RGBColor = RGBColor(0x77, 0x77, 0x77);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
}

/// A value, and between what it varied.
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub range: Option<(f64, f64)>,
}

impl Point {
    /// The median at `x` with the range of the batches' medians; `None` when there was no batch.
    pub fn of(x: f64, series: &Series) -> Option<Self> {
        let y = series.median();
        y.is_finite().then(|| Self {
            x,
            y,
            range: Some(series.range()),
        })
    }
}

pub struct Line {
    pub name: String,
    pub color: RGBColor,
    pub dash: Dash,
    pub points: Vec<Point>,
}

/// One axis. Its limits are those of the values, rounded outwards.
pub struct Axis {
    pub label: &'static str,
    pub logarithmic: bool,
    /// Where it has its marks; empty: at round values.
    pub ticks: Vec<f64>,
    pub format: fn(f64) -> String,
}

pub struct Chart {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// An axis with its limits, as plotters wants it.
#[derive(Clone)]
struct Scale {
    logarithmic: bool,
    limits: (f64, f64),
    ticks: Vec<f64>,
    format: fn(f64) -> String,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64> + Clone) -> Self {
        let (least, most) = match values.clone().next() {
            Some(first) => (
                values.clone().fold(first, f64::min),
                values.fold(first, f64::max),
            ),
            // Every side failed: the picture is empty, and the table says why.
            None => (1.0, 10.0),
        };
        let round = if axis.logarithmic {
            round_logarithmic(least, most)
        } else {
            round_linear(most)
        };
        let limits = (round[0], round[round.len() - 1]);
        let (limits, ticks) = if axis.ticks.is_empty() {
            (limits, round)
        } else if axis.logarithmic {
            // The outermost marks and points keep off the frame.
            ((least / 1.3, most * 1.3), axis.ticks.clone())
        } else {
            (
                (axis.ticks[0], axis.ticks[axis.ticks.len() - 1]),
                axis.ticks.clone(),
            )
        };
        Self {
            logarithmic: axis.logarithmic,
            limits,
            ticks,
            format: axis.format,
        }
    }

    fn position(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (low, high) = (scale(self.limits.0), scale(self.limits.1));
        (scale(value) - low) / (high - low)
    }
}

/// 1, 2, 5, 10, 20 ... around the values.
fn round_logarithmic(least: f64, most: f64) -> Vec<f64> {
    let first = least.log10().floor() as i32;
    let last = most.log10().ceil() as i32;
    let all: Vec<f64> = (first..=last)
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)))
        .collect();
    // Rounding may make a power of ten a little more or less than a value that is one.
    let below = all.iter().rposition(|&tick| tick <= least * 1.000_001);
    let above = all.iter().position(|&tick| tick >= most * 0.999_999);
    all[below.unwrap_or(0)..=above.unwrap_or(all.len() - 1)].to_vec()
}

/// From 0 to beyond the values in five to ten round steps.
fn round_linear(most: f64) -> Vec<f64> {
    let rough = (most / 5.0).max(f64::MIN_POSITIVE);
    let decade = 10f64.powi(rough.log10().floor() as i32);
    let step = [5.0, 2.0, 1.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step <= rough)
        .unwrap_or(decade);
    let steps = (most / step * 1.02).ceil() as i32;
    (0..=steps).map(|index| f64::from(index) * step).collect()
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.position(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.limits.0..self.limits.1
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        (self.format)(*value)
    }
}

impl Chart {
    /// The picture.
    pub fn to_svg(&self) -> Outcome<String> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            root.fill(&WHITE)?;
            let title = (FONT, TITLE).into_font().color(&INK);
            // By hand: plotters would center it by a width that it can only guess in an SVG.
            let corner = ((LEFT + MARGIN) as i32, MARGIN as i32);
            root.draw(&Text::new(self.title, corner, title))?;
            let (plot, legend) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
            let points = || self.lines.iter().flat_map(|line| &line.points);
            let ys = points().flat_map(|point| {
                let (low, high) = point.range.unwrap_or((point.y, point.y));
                [low, point.y, high]
            });
            let x = Scale::new(&self.x, points().map(|point| point.x));
            let y = Scale::new(&self.y, ys);
            let mut chart = ChartBuilder::on(&plot)
                .margin(MARGIN)
                .margin_top(TOP)
                .x_label_area_size(52)
                .y_label_area_size(LEFT)
                .build_cartesian_2d(x, y)?;
            chart
                .configure_mesh()
                .x_desc(self.x.label)
                .y_desc(self.y.label)
                .axis_desc_style((FONT, TEXT).into_font().color(&INK))
                .label_style((FONT, TEXT - 1).into_font().color(&INK))
                .axis_style(INK)
                .bold_line_style(GRID)
                .light_line_style(TRANSPARENT)
                .draw()?;
            for line in &self.lines {
                let path = line.points.iter().map(|point| (point.x, point.y));
                let pen = line.color.stroke_width(2);
                match line.dash.lengths() {
                    None => chart.draw_series(LineSeries::new(path, pen)).map(drop)?,
                    Some((dash, gap)) => chart
                        .draw_series(DashedLineSeries::new(path, dash, gap, pen))
                        .map(drop)?,
                }
                for point in line.points.iter() {
                    let Some((low, high)) = point.range else {
                        continue;
                    };
                    let bar = [(point.x, low), (point.x, high)];
                    chart.draw_series([PathElement::new(
                        bar,
                        line.color.mix(0.5).stroke_width(2),
                    )])?;
                    let mark = Circle::new((point.x, point.y), 4, line.color.filled());
                    chart.draw_series([mark])?;
                }
            }
            self.draw_legend(&legend)?;
            root.present()?;
        }
        Ok(text)
    }

    fn draw_legend<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Outcome<()> {
        const SAMPLE: i32 = 34;
        const LINE_HEIGHT: i32 = 26;
        for (index, line) in (0..).zip(&self.lines) {
            let y = TOP as i32 + 12 + index * LINE_HEIGHT;
            let pen = line.color.stroke_width(2);
            let sample = [(0, y), (SAMPLE, y)];
            match line.dash.lengths() {
                None => area.draw(&PathElement::new(sample, pen))?,
                Some((dash, gap)) => {
                    area.draw(&DashedPathElement::new(sample, dash, gap, pen))?;
                }
            }
            if line.points.iter().any(|point| point.range.is_some()) {
                area.draw(&Circle::new((SAMPLE / 2, y), 4, line.color.filled()))?;
            }
            let style = (FONT, TEXT)
                .into_font()
                .color(&INK)
                .pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(line.name.clone(), (SAMPLE + 8, y), style))?;
        }
        Ok(())
    }
}

impl Dash {
    fn lengths(self) -> Option<(i32, i32)> {
        match self {
            Self::Solid => None,
            Self::Dashed => Some((9, 4)),
            Self::Dotted => Some((2, 4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::figure;

    #[test]
    fn ticks_enclose_the_values_in_round_steps() {
        assert_eq!(
            round_logarithmic(3.0, 70.0),
            [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
        assert_eq!(round_logarithmic(10.0, 100.0), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(
            round_linear(9.0),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
        );
        assert_eq!(round_linear(1100.0).last(), Some(&1200.0));
    }

    #[test]
    fn a_value_lies_between_the_limits_as_the_axis_says() {
        let axis = |logarithmic| Axis {
            label: "",
            logarithmic,
            ticks: Vec::new(),
            format: figure,
        };
        let scale = Scale::new(&axis(true), [1.0, 100.0].into_iter());
        assert!((scale.position(10.0) - 0.5).abs() < 1e-9);
        let scale = Scale::new(&axis(false), [9.5].into_iter());
        assert!((scale.position(5.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_picture_without_values_is_drawn_all_the_same() {
        let axis = |logarithmic| Axis {
            label: "nothing",
            logarithmic,
            ticks: Vec::new(),
            format: figure,
        };
        let chart = Chart {
            title: "",
            x: axis(true),
            y: axis(false),
            lines: Vec::new(),
        };
        assert!(chart.to_svg().unwrap().contains("nothing"));
    }

    #[test]
    fn every_line_is_in_the_picture_with_its_name() {
        let line = |name: &str, dash| Line {
            name: name.into(),
            color: OURS,
            dash,
            points: [1.0, 2.0]
                .map(|x| Point {
                    x,
                    y: 3.0 * x,
                    range: Some((x, 4.0 * x)),
                })
                .into(),
        };
        let axis = |label| Axis {
            label,
            logarithmic: true,
            ticks: Vec::new(),
            format: figure,
        };
        let chart = Chart {
            title: "a title",
            x: axis("across"),
            y: axis("upwards"),
            lines: vec![line("<one>", Dash::Solid), line("other", Dash::Dashed)],
        };
        let svg = chart.to_svg().unwrap();
        for text in ["a title", "across", "upwards", "&lt;one&gt;", "other"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<circle").count(), 6);
    }
}
