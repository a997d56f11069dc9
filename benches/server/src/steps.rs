//! What the engine's steps cost in pools of all sizes, as `benches/engine` has measured it: criterion keeps the samples of
//! each benchmark in a folder `GROUP/STEP/SIZE`.

use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::series::Series;

/// How large a pool is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size {
    pub worker_slots: u32,
    pub lanes: u32,
    /// Queued.
    pub jobs: u32,
}

impl Size {
    /// From `8 worker slots, 1 lanes, 0 jobs`.
    fn parse(text: &str) -> Option<Self> {
        let mut counts = text
            .split(", ")
            .map(|part| part.split(' ').next()?.parse().ok());
        let mut next = || counts.next().flatten();
        Some(Self {
            worker_slots: next()?,
            lanes: next()?,
            jobs: next()?,
        })
    }
}

/// A step, with its samples in microseconds at each size.
pub struct Step {
    pub name: String,
    pub at: Vec<(Size, Series)>,
}

/// The numbers of an array in a JSON text.
fn numbers(json: &str, key: &str) -> Option<Vec<f64>> {
    let (_, rest) = json.split_once(&format!("\"{key}\":["))?;
    let (array, _) = rest.split_once(']')?;
    array.split(',').map(|number| number.parse().ok()).collect()
}

/// Of each sample what one step took, microseconds.
fn samples(json: &str) -> Option<Series> {
    let (steps, times) = (numbers(json, "iters")?, numbers(json, "times")?);
    let mut series = Series::default();
    for (steps, nanoseconds) in steps.into_iter().zip(times) {
        series.push(vec![nanoseconds / steps / 1000.0]);
    }
    Some(series)
}

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The steps of a group of benchmarks.
pub fn read(criterion: &Path, group: &str) -> Outcome<Vec<Step>> {
    let group = criterion.join(group);
    let mut steps = Vec::new();
    for name in names(&group)?.into_iter().filter(|name| name != "report") {
        let mut at = Vec::new();
        for size in names(&group.join(&name))? {
            let Some(parsed) = Size::parse(&size) else {
                continue;
            };
            let file = group.join(&name).join(size).join("new/sample.json");
            let text = fs::read_to_string(&file)?;
            let series =
                samples(&text).ok_or_else(|| format!("{} has no samples", file.display()))?;
            at.push((parsed, series));
        }
        at.sort_by_key(|(size, _)| *size);
        steps.push(Step { name, at });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_from_the_name_of_its_folder() {
        let size = Size {
            worker_slots: 1024,
            lanes: 100,
            jobs: 0,
        };
        assert_eq!(
            Size::parse("1024 worker slots, 100 lanes, 0 jobs"),
            Some(size)
        );
        assert_eq!(Size::parse("report"), None);
    }

    #[test]
    fn a_sample_is_divided_by_its_steps() {
        let json = r#"{"sampling_mode":"Linear","iters":[2.0,4.0],"times":[3000.0,10000.0]}"#;
        let series = samples(json).expect("two samples");
        assert_eq!(series.sorted(), [1.5, 2.5]);
        assert!(samples("{}").is_none());
    }
}
