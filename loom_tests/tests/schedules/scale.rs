//! How many there are of everything, and fewer.

use std::fmt;
use std::str::FromStr;

/// How many there are of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    pub leaders: usize,
    pub jobs_each: usize,
    pub cancelers: usize,
    pub lanes: usize,
    pub places: usize,
    pub slots: usize,
    /// Slots that a login role may have.
    pub role_limit: u32,
    /// Workers that a lane may have; 0: any number.
    pub lane_limit: u32,
    /// Administrators, who purge jobs, refuse a role's jobs and cancel them.
    pub administrators: usize,
    /// One in this many waits, for a slot or for a job, gives up at its time limit; 0: none.
    pub times_out: u32,
}

/// The name of each number, and the least that makes sense; `None`: it is no quantity of which there could be less.
const NUMBERS: [(&str, Option<usize>); 10] = [
    ("leaders", Some(1)),
    ("jobs_each", Some(1)),
    ("cancelers", Some(0)),
    ("administrators", Some(0)),
    ("lanes", Some(1)),
    ("places", Some(1)),
    ("slots", Some(1)),
    ("role_limit", Some(1)),
    ("lane_limit", None),
    ("times_out", None),
];

impl Scale {
    fn numbers(&self) -> [usize; 10] {
        [
            self.leaders,
            self.jobs_each,
            self.cancelers,
            self.administrators,
            self.lanes,
            self.places,
            self.slots,
            self.role_limit as usize,
            self.lane_limit as usize,
            self.times_out as usize,
        ]
    }

    fn from_numbers(numbers: [usize; 10]) -> Self {
        let [
            leaders,
            jobs_each,
            cancelers,
            administrators,
            lanes,
            places,
            slots,
            role_limit,
            lane_limit,
            times_out,
        ] = numbers;
        Self {
            leaders,
            jobs_each,
            cancelers,
            lanes,
            places,
            slots,
            role_limit: role_limit as u32,
            lane_limit: lane_limit as u32,
            administrators,
            times_out: times_out as u32,
        }
    }

    /// Scales with less of one thing, the least first.
    pub fn smaller(self) -> impl Iterator<Item = Self> {
        let numbers = self.numbers();
        (0..numbers.len()).flat_map(move |which| {
            let least = NUMBERS[which].1.unwrap_or(numbers[which]);
            (least..numbers[which]).map(move |less| {
                let mut smaller = numbers;
                smaller[which] = less;
                Self::from_numbers(smaller)
            })
        })
    }
}

/// `leaders=3,jobs_each=3,...`.
impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, ((name, _), value)) in NUMBERS.iter().zip(self.numbers()).enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// What [`Display`](fmt::Display) prints; all of the numbers, in any order.
impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = [None; 10];
        for part in text.split(',') {
            let known = part.split_once('=').and_then(|(name, value)| {
                let which = NUMBERS.iter().position(|(known, _)| *known == name)?;
                Some((which, value.parse().ok()?))
            });
            let (which, value) = known.ok_or_else(|| format!("not a part of a scale: {part}"))?;
            numbers[which] = Some(value);
        }
        let missing = numbers.iter().position(Option::is_none);
        match missing {
            Some(which) => Err(format!("{text}: {} is missing", NUMBERS[which].0)),
            None => Ok(Self::from_numbers(numbers.map(Option::unwrap_or_default))),
        }
    }
}

#[test]
fn a_scale_is_read_as_it_was_printed() {
    let scale = Scale::from_numbers(std::array::from_fn(|number| number + 1));
    assert_eq!(scale.to_string().parse(), Ok(scale));
    assert!("leaders=3".parse::<Scale>().is_err());
    assert!(
        scale
            .to_string()
            .replace("slots", "pots")
            .parse::<Scale>()
            .is_err()
    );
    let smallest = Scale::from_numbers([1, 1, 0, 0, 1, 1, 1, 1, 7, 7]);
    assert_eq!(smallest.smaller().count(), 0);
}
