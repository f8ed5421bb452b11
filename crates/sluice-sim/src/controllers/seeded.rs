//! Everything that looks random: names, hashes, jitter.
//!
//! All of it follows from a seed and from names, so that the same story has the same names twice.

use jiff::SignedDuration;

/// The letters Kubernetes makes names of: no vowels, nothing that looks like another letter.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Mixes a seed and some texts into a number.
pub(super) fn mix(seed: u64, texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ spread(seed);
    for text in texts {
        // The end of each text counts, so that ("ab", "c") differs from ("a", "bc").
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    spread(hash)
}

/// Returns the last part of a generated name: five letters.
pub(super) fn suffix(seed: u64, texts: &[&str]) -> String {
    letters(mix(seed, texts), 5)
}

/// Returns a hash of ten letters, like the one in a ReplicaSet's name.
pub(super) fn template_hash(texts: &[&str]) -> String {
    letters(mix(0, texts), 10)
}

/// Returns a duration from zero up to, but without, `below`, in whole milliseconds.
pub(super) fn jitter(seed: u64, texts: &[&str], below: SignedDuration) -> SignedDuration {
    match u64::try_from(below.as_millis()) {
        Ok(0) | Err(_) => SignedDuration::ZERO,
        Ok(range) => SignedDuration::from_millis((mix(seed, texts) % range) as i64),
    }
}

fn letters(mut number: u64, count: usize) -> String {
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        text.push(char::from(ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    text
}

/// Spreads every bit of the input over the whole output (the finisher of SplitMix64).
fn spread(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_name_and_another_seed_another() {
        assert_eq!(suffix(1, &["web", "0"]), suffix(1, &["web", "0"]));
        assert_ne!(suffix(1, &["web", "0"]), suffix(2, &["web", "0"]));
        assert_ne!(suffix(1, &["ab", "c"]), suffix(1, &["a", "bc"]));
        let names: BTreeSet<String> = (0..1000).map(|n| suffix(7, &["web", &n.to_string()])).collect();
        assert!(names.len() > 995, "{} of 1000 names differ", names.len());
        assert!(names.iter().all(|one| one.len() == 5 && one.bytes().all(|b| ALPHABET.contains(&b))));
    }

    #[test]
    fn jitter_stays_below_its_bound() {
        for n in 0..100 {
            let found = jitter(3, &[&n.to_string()], SignedDuration::from_millis(20));
            assert!((0..20).contains(&found.as_millis()), "{found}");
        }
        assert_eq!(jitter(3, &["x"], SignedDuration::ZERO), SignedDuration::ZERO);
    }
}
