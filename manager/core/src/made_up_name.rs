//! Names for services that were given none: an adjective and the surname of somebody who found something out, as Docker
//! gives them.
//!
//! Owns nothing: who asks brings the random numbers, and says which names are taken.

/// Draws after which a name gets a number.
const DRAWS: usize = 16;

const ADJECTIVES: [&str; 64] = [
    "able", "airy", "amber", "ample", "apt", "awake", "bold", "brave", "bright", "brisk", "calm", "candid", "careful",
    "cheerful", "clear", "clever", "cosy", "curious", "deft", "eager", "early", "earnest", "easy", "fair", "fleet",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "handy", "happy", "hardy", "honest", "jolly", "keen", "kind",
    "lively", "lucid", "lucky", "mellow", "merry", "mild", "neat", "nimble", "patient", "placid", "proud", "quick",
    "quiet", "ready", "serene", "sharp", "steady", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "warm",
    "wise", "witty",
];

const SURNAMES: [&str; 64] = [
    "abel",
    "agnesi",
    "ampere",
    "anning",
    "babbage",
    "banneker",
    "bell",
    "bernoulli",
    "bohr",
    "bose",
    "cannon",
    "carson",
    "cauchy",
    "celsius",
    "chandrasekhar",
    "clarke",
    "curie",
    "dijkstra",
    "dirac",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "fourier",
    "franklin",
    "galilei",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "herschel",
    "hilbert",
    "hodgkin",
    "hopper",
    "hypatia",
    "jemison",
    "johnson",
    "kepler",
    "khwarizmi",
    "kovalevskaya",
    "lamarr",
    "lamport",
    "leavitt",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "mirzakhani",
    "newton",
    "noether",
    "pascal",
    "pasteur",
    "payne",
    "ramanujan",
    "ritchie",
    "rubin",
    "shannon",
    "somerville",
    "tesla",
    "turing",
    "volta",
    "wu",
];

/// A name that is not taken, as long as most are not.
pub fn unused(mut random: impl FnMut() -> u64, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = String::new();
    for _ in 0..DRAWS {
        name = pick(random());
        if !is_taken(&name) {
            return name;
        }
    }
    format!("{name}{}", random())
}

/// The name of a number.
fn pick(number: u64) -> String {
    let (adjective, surname) = (ADJECTIVES[(number % 64) as usize], SURNAMES[(number / 64 % 64) as usize]);
    format!("{adjective}_{surname}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use skep_common::validate;

    use super::*;

    #[test]
    fn every_name_is_one_and_another() {
        let names: BTreeSet<String> = (0..64 * 64).map(pick).collect();
        assert_eq!(names.len(), 64 * 64);
        assert!(names.iter().all(|name| validate::check_service_name(name).is_ok() && name.len() < 40), "{names:?}");
        assert_eq!((pick(0).as_str(), pick(65).as_str()), ("able_abel", "airy_agnesi"));
        assert_eq!(pick(u64::MAX), "witty_wu");
    }

    #[test]
    fn a_name_that_is_taken_is_not_given() {
        let mut numbers = [0, 0, 1].into_iter();
        assert_eq!(unused(|| numbers.next().unwrap(), |name| name == "able_abel"), "airy_abel");
        let mut draws = 0;
        let all_taken = unused(|| (draws += 1, draws).1, |name| !name.contains(char::is_numeric));
        assert_eq!((all_taken.as_str(), draws), ("cosy_abel17", 17));
        assert!(validate::check_service_name(&all_taken).is_ok());
    }
}
