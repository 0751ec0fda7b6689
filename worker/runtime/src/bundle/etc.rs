//! The three files below `/etc` that are the engine's and not the image's.

/// Docker's `/etc/hosts`.
const HOSTS: &str = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// `/etc/hosts`: the usual names, or the host's file where the container is on its network; then what the
/// specification adds; then the container's own name.
pub(super) fn hosts(host_file: Option<&str>, extra: &[String], hostname: &str) -> String {
    let mut text = host_file.unwrap_or(HOSTS).to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for line in extra {
        text.push_str(&line.split_whitespace().collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    if host_file.is_none() {
        text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_added_one_a_line_whatever_their_spacing() {
        let text = hosts(None, &["10.0.0.1   db  db.local\n1.2.3.4 evil".into()], "box");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.1\tdb\tdb.local\t1.2.3.4\tevil\n"));
        assert!(text.ends_with("127.0.0.1\tbox\n"));
    }

    #[test]
    fn on_the_hosts_network_the_hosts_names_hold() {
        assert_eq!(hosts(Some("1.1.1.1 one"), &["2.2.2.2 two".into()], "box"), "1.1.1.1 one\n2.2.2.2\ttwo\n");
    }
}
