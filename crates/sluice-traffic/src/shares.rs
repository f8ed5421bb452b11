//! How a weight becomes whole shares of what an object divides, and back.
//!
//! Most routers know percent only, and some of it may belong to destinations that are not ours. Nothing
//! that was to get traffic gets none, and nothing that was to get none gets some.

use crate::Routes;

/// The parts of the three kinds of destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) canary: i64,
    /// In the order of [`Routes::extra`].
    pub(crate) extra: Vec<i64>,
    pub(crate) stable: i64,
}

/// Divides `whole` as `routes` divide `max_weight`: by largest remainder, the canary before the others.
///
/// Further destinations that ask for more than there is get it, as with Argo Rollouts: nothing is left
/// for stable then, and the parts are more than the whole.
pub(crate) fn divide(routes: &Routes, max_weight: i64, whole: i64) -> Shares {
    let max = i128::from(max_weight.max(1));
    let whole = i128::from(whole.max(0));
    let asked_of = |weight: i64| i128::from(weight).clamp(0, max);
    let mut asked = vec![asked_of(routes.canary_weight)];
    asked.extend(routes.extra.iter().map(|extra| asked_of(extra.weight)));
    let left = max - asked.iter().sum::<i128>();
    asked.push(left.max(0));

    let mut parts: Vec<i128> = if left < 0 {
        asked.iter().map(|weight| nearest(weight * whole, max)).collect()
    } else {
        largest_remainder(&asked, max, whole)
    };
    for at in 0..parts.len() {
        if asked[at] > 0 && parts[at] == 0 {
            let largest = (0..parts.len()).rev().max_by_key(|other| parts[*other]).unwrap_or(at);
            if left >= 0 && parts[largest] > 1 {
                parts[largest] -= 1;
            }
            parts[at] = 1;
        }
    }
    let mut parts = parts.into_iter().map(|part| i64::try_from(part).unwrap_or(i64::MAX));
    let canary = parts.next().unwrap_or_default();
    let extra = parts.by_ref().take(routes.extra.len()).collect();
    Shares { canary, extra, stable: parts.next().unwrap_or_default() }
}

/// The same for objects that have no place for further destinations: those get nothing.
pub(crate) fn two(routes: &Routes, max_weight: i64, whole: i64) -> Shares {
    let routes = Routes { canary_weight: routes.canary_weight, ..Routes::default() };
    divide(&routes, max_weight, whole)
}

/// How many destinations are to get something.
pub(crate) fn wanted(routes: &Routes, max_weight: i64) -> i64 {
    let parts = divide(routes, max_weight, max_weight);
    let all = parts.extra.iter().chain([&parts.canary, &parts.stable]);
    all.filter(|part| **part > 0).count() as i64
}

/// The weight that `part` of `whole` means; `None` if nothing is divided.
pub(crate) fn weight_of(part: i64, whole: i64, max_weight: i64) -> Option<i64> {
    if whole <= 0 {
        return None;
    }
    let (max, part) = (max_weight.max(1), part.clamp(0, whole));
    let weight = nearest(i128::from(part) * i128::from(max), i128::from(whole)) as i64;
    let below_all = if part < whole { weight.min(max - 1) } else { weight };
    Some(if part > 0 { below_all.max(1) } else { below_all })
}

/// The weight that all of them say; `None` if one says none, or they differ.
pub(crate) fn agreed(weights: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    let mut weights = weights.into_iter();
    let first = weights.next()??;
    weights.all(|weight| weight == Some(first)).then_some(first)
}

fn nearest(product: i128, divisor: i128) -> i128 {
    (2 * product + divisor) / (2 * divisor)
}

fn largest_remainder(asked: &[i128], sum: i128, whole: i128) -> Vec<i128> {
    let mut parts: Vec<i128> = asked.iter().map(|weight| weight * whole / sum).collect();
    let left = whole - parts.iter().sum::<i128>();
    let mut by_remainder: Vec<usize> = (0..asked.len()).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(asked[*at] * whole % sum));
    for at in by_remainder.into_iter().take(left as usize) {
        parts[at] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Extra;
    use proptest::prelude::*;

    fn routes(canary_weight: i64, extra: &[i64]) -> Routes {
        let extra =
            extra.iter().map(|weight| Extra { service: String::new(), hash: String::new(), weight: *weight });
        Routes { canary_weight, extra: extra.collect(), ..Routes::default() }
    }

    #[test]
    fn divided() {
        // (canary, further, of, whole) => (canary, further, stable)
        for (canary, extra, max, whole, expected) in [
            (20, vec![], 100, 100, (20, vec![], 80)),
            (10, vec![20], 100, 100, (10, vec![20], 70)),
            (15, vec![5, 7], 100, 100, (15, vec![5, 7], 73)),
            (80, vec![30], 100, 100, (80, vec![30], 0)),
            (1, vec![], 1000, 100, (1, vec![], 99)),
            (14, vec![], 1000, 100, (1, vec![], 99)),
            (15, vec![], 1000, 100, (2, vec![], 98)),
            (996, vec![], 1000, 100, (99, vec![], 1)),
            (1000, vec![], 1000, 100, (100, vec![], 0)),
            (3, vec![], 10, 100, (30, vec![], 70)),
            (50, vec![], 100, 80, (40, vec![], 40)),
            (100, vec![], 100, 80, (80, vec![], 0)),
            (335, vec![335], 1000, 100, (34, vec![33], 33)),
            (1, vec![1], 1000, 100, (1, vec![1], 98)),
            (-5, vec![], 100, 100, (0, vec![], 100)),
            (i64::MAX, vec![i64::MAX], 100, 100, (100, vec![100], 0)),
            (5, vec![], 0, 100, (100, vec![], 0)),
            (50, vec![], 100, 0, (1, vec![], 1)),
        ] {
            let expected = Shares { canary: expected.0, extra: expected.1, stable: expected.2 };
            assert_eq!(
                divide(&routes(canary, &extra), max, whole),
                expected,
                "{canary} {extra:?} of {max}, whole {whole}"
            );
        }
    }

    #[test]
    fn read_back() {
        for (part, whole, max, expected) in [
            (20, 100, 100, Some(20)),
            (1, 100, 1000, Some(10)),
            (1, 1000, 100, Some(1)),
            (999, 1000, 100, Some(99)),
            (0, 100, 100, Some(0)),
            (100, 100, 1000, Some(1000)),
            (30, 100, 1, Some(1)),
            (1, 0, 100, None),
            (-3, 100, 100, Some(0)),
        ] {
            assert_eq!(weight_of(part, whole, max), expected, "{part} of {whole} for {max}");
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_and_nobody_is_forgotten(
            canary in 0..=2000i64, extra in prop::collection::vec(0..=300i64, 0..4), max in 1..=2000i64, whole in 5..=100i64,
        ) {
            let routes = routes(canary, &extra);
            let asked = divide(&routes, max, max);
            let parts = divide(&routes, max, whole);
            prop_assert_eq!(asked.canary, canary.min(max));
            if asked.canary + asked.extra.iter().sum::<i64>() <= max {
                prop_assert_eq!(parts.canary + parts.extra.iter().sum::<i64>() + parts.stable, whole);
            }
            prop_assert_eq!(parts.canary > 0, asked.canary > 0);
            prop_assert_eq!(parts.stable > 0, asked.stable > 0);
            for (part, wanted) in parts.extra.iter().zip(&asked.extra) {
                prop_assert_eq!(*part > 0, *wanted > 0);
            }
        }

        #[test]
        fn no_coarser_than_the_whole_is_exact(max in 1..=100i64, more in 0..=900i64, weight in 0..=100i64) {
            let (weight, whole) = (weight.min(max), max + more);
            let parts = divide(&routes(weight, &[]), max, whole);
            prop_assert_eq!(weight_of(parts.canary, whole, max), Some(weight));
        }

        #[test]
        fn what_was_read_is_written_again(max in 1..=2000i64, whole in 2..=100i64, canary in 0..=100i64) {
            let canary = canary.min(whole);
            let weight = weight_of(canary, whole, max).expect("something is divided");
            let parts = divide(&routes(weight, &[]), max, whole);
            prop_assert_eq!(weight_of(parts.canary, whole, max), Some(weight));
        }
    }
}
