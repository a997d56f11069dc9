//! The figures of one side of one measure, batch by batch.

use std::fmt;

use crate::Outcome;

/// Rounds in batches. What is quoted is the median of the batches' medians; the range of those shows
/// how far to trust it.
#[derive(Clone, Debug, Default)]
pub struct Series {
    batches: Vec<Vec<f64>>,
    /// Why there is no more.
    failure: Option<String>,
}

impl Series {
    /// Adds one batch.
    pub fn push(&mut self, rounds: Vec<f64>) {
        if !rounds.is_empty() {
            self.batches.push(rounds);
        }
    }

    /// The median of each batch.
    fn medians(&self) -> Vec<f64> {
        self.batches.iter().cloned().map(median).collect()
    }

    /// The median over the batches, or NaN when there was none.
    pub fn median(&self) -> f64 {
        median(self.medians())
    }

    /// Least and greatest of the batches' medians.
    pub fn range(&self) -> (f64, f64) {
        let medians = self.medians();
        (
            medians.iter().copied().fold(f64::INFINITY, f64::min),
            medians.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    /// All rounds, by size.
    pub fn sorted(&self) -> Vec<f64> {
        let mut rounds = self.batches.concat();
        rounds.sort_by(f64::total_cmp);
        rounds
    }

    /// Every round with the number of its batch.
    pub fn rounds(&self) -> impl Iterator<Item = (usize, f64)> {
        (0..)
            .zip(&self.batches)
            .flat_map(|(batch, rounds)| rounds.iter().map(move |&value| (batch, value)))
    }

    /// The same in another unit.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        let batches = self.batches.iter();
        Self {
            batches: batches
                .map(|rounds| rounds.iter().map(|&value| change(value)).collect())
                .collect(),
            failure: self.failure.clone(),
        }
    }
}

/// Takes a batch of each of `N` sides in turn, so that other load on the machine affects all. A
/// side that fails is not measured again, and the table says why in its column.
pub fn alternate<const N: usize>(
    batches: usize,
    mut batch: impl FnMut(usize) -> Outcome<Vec<f64>>,
) -> [Series; N] {
    let mut sides: [Series; N] = std::array::from_fn(|_| Series::default());
    for _ in 0..batches {
        for (index, side) in sides.iter_mut().enumerate() {
            if side.failure.is_some() {
                continue;
            }
            match batch(index) {
                Ok(rounds) => side.push(rounds),
                Err(error) => side.failure = Some(reason(&*error)),
            }
        }
    }
    sides
}

/// The client's own message says only "db error"; the server's is its source.
pub fn reason(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// The value below which the part `part` of the sorted values lies.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((part * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The middle value; of an even number of values the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => f64::NAN,
        values => {
            let upper = values.len() / 2;
            let lower = (values.len() - 1) / 2;
            f64::midpoint(values[lower], values[upper])
        }
    }
}

/// A figure with its significant digits, in groups of three.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if value.fract() == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        // Two digits that are not 0.
        size => (1.0 - size.log10().floor()) as usize,
    };
    let text = format!("{value:.digits$}");
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", &*text), |rest| ("-", rest));
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index) % 3 == 0 && whole.len() > 4 {
            // Keeps the number in one piece where a line is broken.
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (&self.failure, self.batches.as_slice()) {
            (Some(failure), _) => format!("failed: {failure}"),
            (None, []) => String::new(),
            (None, [_]) => figure(self.median()),
            (None, _) => {
                let (least, most) = self.range();
                format!(
                    "{} ({}..{})",
                    figure(self.median()),
                    figure(least),
                    figure(most)
                )
            }
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_batches_medians_is_quoted_with_their_range() {
        let mut series = Series::default();
        for batch in [vec![1.0, 9.0, 2.5], vec![4.25, 4.25], vec![300.4]] {
            series.push(batch);
        }
        assert_eq!(series.to_string(), "4.25 (2.50..300)");
        assert_eq!(series.sorted(), [1.0, 2.5, 4.25, 4.25, 9.0, 300.4]);
    }

    #[test]
    fn a_side_that_failed_is_asked_no_more_and_the_other_goes_on() {
        let mut asked = [0, 0];
        let sides: [Series; 2] = alternate(3, |side| {
            asked[side] += 1;
            match side {
                0 => Err("broken".into()),
                _ => Ok(vec![7.0]),
            }
        });
        assert_eq!(asked, [1, 3]);
        assert_eq!(sides[0].to_string(), "failed: broken");
        assert_eq!(sides[1].to_string(), "7 (7..7)");
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 50.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.5), 3.0);
        assert_eq!(quantile(&sorted, 1.0), 50.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(figure(1_234_567.8), "1\u{a0}234\u{a0}568");
        assert_eq!(figure(1234.5), "1234");
        assert_eq!(figure(12.345), "12.3");
        assert_eq!(figure(-0.125), "-0.12");
        assert_eq!(figure(0.00512), "0.0051");
    }
}
