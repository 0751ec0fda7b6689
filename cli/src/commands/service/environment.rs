//! Environment variables as `--env` and `--env-file` give them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// Files first, then what was typed; the last word on a variable counts, in the place of the first.
///
/// # Errors
/// When a file cannot be read or a variable has no name.
pub(super) fn collect(files: &[PathBuf], typed: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("open {}", file.display()))?;
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            set(&mut variables, line).with_context(|| format!("invalid environment file {}", file.display()))?;
        }
    }
    for variable in typed {
        set(&mut variables, variable)?;
    }
    Ok(variables)
}

/// Sets a variable, `NAME=VALUE`, or `NAME` for the value it has here.
///
/// # Errors
/// When it has no name.
pub(super) fn set(variables: &mut Vec<String>, variable: &str) -> Result<()> {
    let name = name_of(variable);
    if name.is_empty() {
        bail!("invalid environment variable: {variable}");
    }
    let variable = match std::env::var(name) {
        Ok(value) if !variable.contains('=') => format!("{name}={value}"),
        _ => variable.to_owned(),
    };
    match variables.iter_mut().find(|known| name_of(known) == name) {
        Some(known) => *known = variable,
        None => variables.push(variable),
    }
    Ok(())
}

/// The part before the `=`.
pub(super) fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# a comment\n\nA=1\n  B=x y\nC=\n").unwrap();
        let typed = ["B=2", "PATH", "SKEP_NOT_SET_ANYWHERE", "D=a=b"].map(str::to_owned);
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        let expected = ["A=1", "B=2", "C=", &path, "SKEP_NOT_SET_ANYWHERE", "D=a=b"];
        assert_eq!(collect(&[file], &typed).unwrap(), expected);
        assert!(collect(&[], &["=x".to_owned()]).is_err());
        assert!(collect(&["/nonexistent".into()], &[]).unwrap_err().to_string().starts_with("open /nonexistent"));
    }
}
