//! What is wrong with how a manager keeps the swarm's state on its disk, in words for whoever can mend it. Owns nothing:
//! the facts are Raft's.

/// A sentence for each trouble.
pub(crate) fn of(snapshot: Option<&str>, log_is_short_of_room: bool) -> Vec<String> {
    let short =
        "the disk is full: this manager writes changes of the swarm into the last room it has held back for them";
    let snapshot = snapshot.map(|error| {
        format!("this manager cannot write a snapshot of the swarm's state, its log grows until it can: {error}")
    });
    log_is_short_of_room.then(|| short.to_owned()).into_iter().chain(snapshot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_a_sentence_that_says_why() {
        assert!(of(None, false).is_empty());
        let [short] = &of(None, true)[..] else { panic!("one trouble") };
        assert!(short.starts_with("the disk is full: "), "{short}");
        let [first, snapshot] = &of(Some("no such device"), true)[..] else { panic!("two troubles") };
        assert_eq!(first, short);
        assert!(snapshot.contains("cannot write a snapshot") && snapshot.ends_with(": no such device"), "{snapshot}");
    }
}
