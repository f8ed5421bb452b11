//! The arithmetic of replica counts: how a weight becomes pods when no router splits traffic.
//!
//! Decides sizes only; whether a change may be made now is the business of [`crate::moves`].
//! Same numbers as Argo Rollouts v1.10, `utils/replicaset/canary.go`, on exact products in 64 bits.

/// Size and availability of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// `spec.replicas`.
    pub size: i64,
    /// `status.availableReplicas`.
    pub available: i64,
}

impl Count {
    /// Pods that are available and that no pending shrink condemns.
    pub fn stay(self) -> i64 {
        self.available.min(self.size)
    }
}

/// What a set of versions of one Rollout may be resized within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corridor {
    /// Wanted replicas of the Rollout.
    pub replicas: i64,
    /// Pods allowed above `replicas`.
    pub surge: i64,
    /// Pods of `replicas` that may be missing.
    pub unavailable: i64,
}

impl Corridor {
    /// The fewest available pods that a write of ours may leave.
    pub fn floor(self) -> i64 {
        (self.replicas - self.unavailable).max(0)
    }

    /// The most pods that a write of ours may ask for.
    pub fn cap(self) -> i64 {
        self.replicas + self.surge
    }
}

/// Returns `(canary, stable)`: the two sizes that come closest to `weight_percent` of `replicas`.
/// Between 0 and 100 both keep at least one pod where two can be had.
pub fn approximate(replicas: i64, weight_percent: i64, surge: i64) -> (i64, i64) {
    if replicas <= 0 {
        return (0, 0);
    }
    let weight = weight_percent.clamp(0, 100);
    let product = replicas * weight;
    let ceil = (product + 99) / 100;
    let floor = product / 100;
    let may_be_zero = weight == 0 || weight == 100 || (replicas == 1 && surge == 0);
    let is_tie = |total: i64| (total * weight) % 100 == 50;
    let floor_allowed = floor != 0 || may_be_zero;
    let ceil_allowed = ceil < replicas || may_be_zero;
    let options = [
        ceil_allowed.then_some((ceil, replicas)),
        // Of two that are equally far the larger one counts, unless it would leave stable without a pod.
        ((!is_tie(replicas) || !ceil_allowed) && floor_allowed).then_some((floor, replicas)),
        (surge > 0).then_some((ceil, replicas + 1)),
        (surge > 0 && !is_tie(replicas + 1) && floor_allowed).then_some((floor, replicas + 1)),
    ];
    // |canary/total - weight/100| as a fraction; the first of the smallest wins.
    let mut best: Option<(i64, i64, i64, i64)> = None;
    for (canary, total) in options.into_iter().flatten() {
        let distance = (canary * 100 - weight * total).abs();
        if best.is_none_or(|(num, den, ..)| {
            i128::from(distance) * i128::from(den) < i128::from(num) * i128::from(total)
        }) {
            best = Some((distance, total, canary, total - canary));
        }
    }
    let (.., canary, stable) = best.unwrap_or((0, replicas, 0, replicas));
    (canary, stable)
}

/// Returns `(new, stable)` sizes of one pass toward `weight_percent`, before the planner's bounds.
/// `stable` is `None` when there is no stable version apart from the new one; `old` is the sum of all
/// other versions.
pub fn step_toward(
    corridor: Corridor,
    weight_percent: i64,
    new: Count,
    stable: Option<Count>,
    old: Count,
) -> (i64, i64) {
    let Corridor { replicas, surge, .. } = corridor;
    let (want_new, want_stable) = match stable {
        Some(_) => approximate(replicas, weight_percent, surge),
        None => (replicas, 0),
    };
    let kept = stable.unwrap_or_default();
    let (mut n, mut s) = (new.size, kept.size);
    let cap = corridor.cap();
    let mut free = cap - (new.size + kept.size + old.size);
    if s < want_stable && free > 0 {
        let growth = (want_stable - s).min(free);
        s += growth;
        free -= growth;
    }
    if n < want_new && free > 0 {
        n += (want_new - n).min(free);
    }
    if old.size > 0 {
        return (n, s); // versions that lead nowhere shrink first
    }
    let floor = corridor.floor();
    let rising = want_new >= new.size;
    // What each side contributes: the side that grows counts its available pods, the other its size.
    let held = |count: Count, size: i64, by_size: bool| {
        if size < count.available || by_size { size } else { count.available }
    };
    let total = held(new, n, !rising) + held(kept, s, rising);
    if total <= floor || (rising && stable.is_none()) {
        return (n, s);
    }
    let spare = total - floor;
    let (drain, keep) = if rising { (kept, new) } else { (new, kept) };
    let (mut drain_to, mut keep_to, want) = if rising { (s, n, want_stable) } else { (n, s, want_new) };
    if drain_to > want {
        drain_to = want.max(drain_to - spare);
    }
    keep_to -= (keep_to + drain_to - cap).max(0);
    let have = drain.available.min(drain_to) + keep.available.min(keep_to);
    let lost = (keep.available - keep_to).max(0);
    keep_to += lost.min((floor - have).max(0));
    drain_to -= (keep_to + drain_to - cap).max(0);
    if rising { (keep_to, drain_to) } else { (drain_to, keep_to) }
}

/// Pods that `share` of `max` needs out of `replicas`, rounded up.
pub fn need(share: i64, replicas: i64, max: i64) -> i64 {
    if max <= 0 || share <= 0 || replicas <= 0 {
        return 0;
    }
    let product = i128::from(share) * i128::from(replicas);
    let need = (product + i128::from(max) - 1) / i128::from(max);
    i64::try_from(need).unwrap_or(i64::MAX)
}

/// The largest share of `max` that `pods` of `per` carry, rounded down. Nothing to carry: all of it.
pub fn carry(pods: i64, per: i64, max: i64) -> i64 {
    if per <= 0 {
        return max;
    }
    let share = i128::from(max) * i128::from(pods.max(0)) / i128::from(per);
    i64::try_from(share).unwrap_or(max).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_sides_keep_a_pod_at_every_share() {
        for replicas in 2..=60 {
            for weight in 1..100 {
                for surge in 0..3 {
                    let (canary, stable) = approximate(replicas, weight, surge);
                    assert!(canary >= 1 && stable >= 1, "{replicas} {weight} {surge}: {canary}/{stable}");
                }
            }
        }
        assert_eq!(approximate(2, 75, 0), (1, 1));
        assert_eq!(approximate(10, 95, 0), (9, 1));
    }

    #[test]
    fn approximations() {
        for ((replicas, weight, surge), expected) in [
            ((0, 50, 1), (0, 0)),
            ((1, 49, 0), (0, 1)),
            ((1, 50, 0), (1, 0)),
            ((1, 99, 0), (1, 0)),
            ((1, 1, 1), (1, 1)),
            ((1, 99, 1), (1, 1)),
            ((1, 100, 1), (1, 0)),
            ((2, 1, 0), (1, 1)),
            ((2, 99, 0), (1, 1)),
            ((2, 1, 1), (1, 2)),
            ((2, 50, 1), (1, 1)),
            ((2, 99, 1), (2, 1)),
            ((3, 10, 0), (1, 2)),
            ((3, 49, 0), (1, 2)),
            ((3, 50, 0), (2, 1)),
            ((3, 10, 1), (1, 3)),
            ((3, 33, 1), (1, 2)),
            ((3, 49, 1), (2, 2)),
            ((3, 50, 1), (2, 2)),
            ((5, 50, 0), (3, 2)),
            ((5, 50, 1), (3, 3)),
            ((4, 60, 0), (2, 2)),
            ((4, 60, 1), (3, 2)),
            ((10, 1, 0), (1, 9)),
            ((10, 14, 0), (1, 9)),
            ((10, 15, 0), (2, 8)),
            ((10, 99, 0), (9, 1)),
            ((10, 1, 1), (1, 10)),
            ((10, 18, 1), (2, 9)),
            ((10, 19, 1), (2, 9)),
            ((10, 20, 1), (2, 8)),
            ((10, 23, 1), (2, 8)),
            ((10, 24, 1), (3, 8)),
            ((10, 25, 1), (3, 8)),
            ((10, 99, 1), (10, 1)),
            ((10, 0, 1), (0, 10)),
        ] {
            assert_eq!(
                approximate(replicas, weight, surge),
                expected,
                "R={replicas} W={weight} surge={surge}"
            );
        }
    }

    #[test]
    fn one_pass_of_a_basic_canary() {
        let count = |(size, available): (i64, i64)| Count { size, available };
        // R, W, surge, unavailable, stable, canary, old => stable, canary
        type Pair = (i64, i64);
        type Row = (i64, i64, i64, i64, Option<Pair>, Pair, Pair, Pair);
        let rows: [Row; 36] = [
            (10, 20, 2, 0, Some((10, 10)), (0, 0), (0, 0), (10, 2)),
            (10, 20, 2, 0, Some((10, 10)), (2, 2), (0, 0), (8, 2)),
            (10, 30, 2, 0, Some((10, 10)), (0, 0), (0, 0), (10, 2)),
            (10, 20, 0, 2, Some((10, 10)), (0, 0), (0, 0), (8, 0)),
            (10, 30, 0, 2, Some((10, 10)), (0, 0), (0, 0), (8, 0)),
            (10, 50, 2, 1, Some((10, 10)), (0, 0), (0, 0), (9, 2)),
            (10, 0, 1, 1, Some((10, 10)), (1, 1), (0, 0), (10, 0)),
            (10, 100, 1, 1, Some((1, 1)), (10, 10), (0, 0), (0, 10)),
            (10, 100, 3, 0, Some((7, 8)), (6, 3), (0, 0), (7, 6)),
            (1, 20, 1, 0, Some((1, 1)), (0, 0), (0, 0), (1, 1)),
            (1, 90, 1, 0, Some((1, 1)), (0, 0), (0, 0), (1, 1)),
            (1, 49, 0, 1, Some((1, 1)), (0, 0), (0, 0), (1, 0)),
            (1, 51, 0, 1, Some((1, 1)), (0, 0), (0, 0), (0, 0)),
            (1, 51, 0, 1, Some((0, 0)), (0, 0), (0, 0), (0, 1)),
            (10, 30, 1, 0, Some((1, 1)), (0, 0), (3, 3), (7, 1)),
            (10, 30, 0, 3, Some((8, 5)), (4, 4), (0, 0), (7, 3)),
            (10, 100, 1, 0, Some((10, 2)), (10, 8), (0, 0), (2, 9)),
            (10, 30, 0, 1, Some((8, 6)), (4, 2), (3, 3), (8, 4)),
            (10, 5, 0, 1, Some((10, 10)), (0, 0), (0, 0), (9, 0)),
            (10, 5, 0, 1, Some((9, 9)), (0, 0), (0, 0), (9, 1)),
            (10, 10, 0, 1, Some((10, 10)), (0, 0), (0, 0), (9, 0)),
            (4, 100, 1, 0, Some((4, 1)), (0, 0), (0, 0), (4, 1)),
            (4, 100, 1, 0, Some((4, 1)), (1, 1), (0, 0), (3, 1)),
            (3, 99, 0, 2, Some((3, 3)), (0, 0), (0, 0), (1, 0)),
            (3, 99, 0, 2, Some((1, 1)), (0, 0), (0, 0), (1, 2)),
            (4, 0, 1, 0, Some((0, 0)), (4, 4), (0, 0), (1, 4)),
            (4, 0, 1, 0, Some((1, 0)), (4, 4), (0, 0), (1, 4)),
            (4, 0, 1, 0, Some((1, 1)), (4, 4), (0, 0), (1, 3)),
            (4, 100, 4, 4, Some((4, 4)), (0, 0), (0, 0), (0, 4)),
            (4, 100, 3, 0, Some((4, 4)), (0, 0), (0, 0), (4, 3)),
            (10, 100, 3, 0, Some((9, 9)), (4, 4), (0, 0), (6, 4)),
            (4, 100, 2, 0, Some((4, 4)), (0, 0), (0, 0), (4, 2)),
            (8, 100, 2, 0, Some((4, 4)), (2, 0), (0, 0), (4, 6)),
            (4, 100, 2, 0, Some((4, 4)), (6, 0), (0, 0), (4, 2)),
            (10, 10, 0, 1, None, (9, 9), (0, 0), (0, 10)),
            (5, 40, 0, 1, Some((3, 3)), (1, 1), (0, 0), (3, 2)),
        ];
        for (index, (replicas, weight, surge, unavailable, stable, new, old, expected)) in
            rows.into_iter().enumerate()
        {
            let corridor = Corridor { replicas, surge, unavailable };
            let (n, s) = step_toward(corridor, weight, count(new), stable.map(count), count(old));
            assert_eq!((s, n), expected, "row {}", index + 1);
        }
    }

    proptest! {
        #[test]
        fn a_share_fits_what_carries_it(share in 0..=100_000_000i64, replicas in 0..=100_000i64, max in 1..=100_000_000i64) {
            let share = share.min(max);
            let pods = need(share, replicas, max);
            prop_assert!(pods <= replicas);
            prop_assert!(carry(pods, replicas, max) >= share);
            prop_assert!(pods == 0 || carry(pods - 1, replicas, max) < share);
        }

        #[test]
        fn an_approximation_stays_within_one_pod(replicas in 0..500i64, weight in 0..=100i64, surge in 0..5i64) {
            let (canary, stable) = approximate(replicas, weight, surge);
            let total = canary + stable;
            prop_assert!(canary >= 0 && stable >= 0);
            prop_assert!(total == replicas || (surge > 0 && total == replicas + 1));
            if (1..100).contains(&weight) && replicas >= 2 {
                prop_assert!(canary >= 1 && stable >= 1);
            }
        }
    }
}
