//! The figures of one measure, batch by batch.

use std::fmt;

/// The median of each batch. What is quoted is their median; their range shows how far to trust it.
#[derive(Debug, Default)]
pub struct Series {
    medians: Vec<f64>,
}

impl Series {
    /// Adds one batch: its rounds in, its median kept.
    pub fn push(&mut self, mut rounds: Vec<f64>) {
        if !rounds.is_empty() {
            self.medians.push(median(&mut rounds));
        }
    }

    /// The median over the batches, or NaN when there was none.
    pub fn median(&self) -> f64 {
        median(&mut self.medians.clone())
    }
}

/// The middle value; of an even number of values the mean of the two in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values {
        [] => f64::NAN,
        [..] => {
            let upper = values.len() / 2;
            let lower = (values.len() - 1) / 2;
            f64::midpoint(values[lower], values[upper])
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.medians.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.medians.iter().copied().fold(0.0, f64::max);
        let figure = |value: f64| {
            if value < 100.0 {
                format!("{value:.1}")
            } else {
                format!("{value:.0}")
            }
        };
        let text = format!(
            "{} ({}..{})",
            figure(self.median()),
            figure(least),
            figure(most)
        );
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_batches_medians_is_quoted_with_their_range() {
        let mut series = Series::default();
        for batch in [vec![1.0, 9.0, 2.0], vec![4.0, 4.0], vec![300.0]] {
            series.push(batch);
        }
        assert_eq!(series.to_string(), "4.0 (2.0..300)");
    }
}
