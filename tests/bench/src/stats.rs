//! Medians and what lies around them.

use serde::{Deserialize, Serialize};

/// The middle of several numbers, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The number in the middle; between the two in the middle when there is none. `None` for no numbers.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median with the smallest and the largest. With the few rounds of a run, quartiles would say no more.
pub(crate) fn summary(numbers: &[f64]) -> Option<Summary> {
    Some(Summary {
        median: median(numbers)?,
        low: numbers.iter().copied().min_by(f64::total_cmp)?,
        high: numbers.iter().copied().max_by(f64::total_cmp)?,
    })
}

/// How many times `numbers` is `base`: the median over the rounds, each compared within itself, so that a slow moment of
/// the machine falls on both.
pub(crate) fn ratio(numbers: &[f64], base: &[f64]) -> Option<Summary> {
    let pairs = numbers.iter().zip(base);
    let ratios: Vec<f64> = pairs.filter(|(_, base)| **base > 0.0).map(|(a, b)| a / b).collect();
    summary(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_summary_has_the_extremes() {
        let found = summary(&[5.0, 2.0, 9.0, 4.0, 3.0]).unwrap();
        assert_eq!((found.low, found.median, found.high), (2.0, 4.0, 9.0));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_ratio_compares_each_round_with_itself() {
        // The second round was three times as slow for both.
        let found = ratio(&[20.0, 60.0, 22.0], &[10.0, 30.0, 10.0]).unwrap();
        assert_eq!((found.low, found.median, found.high), (2.0, 2.0, 2.2));
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[1.0], &[]), None);
    }
}
