//! `skep version`.

use anyhow::Result;

use super::Context;
use crate::{client::Client, output::pretty};

pub(super) async fn run(context: &mut Context) -> Result<()> {
    let daemon = ask(&context.client).await;
    let agreed = daemon.as_ref().ok().map(|(_, agreed)| agreed.as_str());
    context.printer.text(pretty::version::client(agreed))?;
    let (daemon, _) = daemon?;
    Ok(context.printer.text(pretty::version::server(&daemon))?)
}

async fn ask(client: &Client) -> Result<(skep_dockerapi::types::VersionInfo, String)> {
    Ok((client.version().await?, client.api_version().await?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        client::testing::FakeDaemon,
        commands::testing::{prints, run},
    };

    #[tokio::test]
    async fn both_sides_are_shown() {
        let daemon = FakeDaemon::new().on(
            "GET /v1.46/version",
            json!({"Version": "0.1.0", "ApiVersion": "1.46", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64", "KernelVersion": "6.1"}),
        );
        let printed = prints(&daemon, &["version"]).await;
        let expected = format!(
            "Client:
 Version:           {0}
 API version:       1.46
 OS/Arch:           linux/{1}

Server:
 Engine:
  Version:          0.1.0
  API version:      1.46 (minimum version 1.24)
  OS/Arch:          linux/amd64
  Kernel:           6.1
",
            env!("CARGO_PKG_VERSION"),
            crate::output::pretty::version::GOARCH,
        );
        assert_eq!(printed, expected);
    }

    #[tokio::test]
    async fn without_a_daemon_the_client_is_still_shown() {
        let daemon = FakeDaemon::new().refusing("GET /v1.46/version", 500, "broken");
        let (captured, result) = run(&daemon, &["version"]).await;
        assert!(captured.out().starts_with("Client:\n Version:"), "{}", captured.out());
        assert_eq!(result, Err("Error response from daemon: broken".into()));
    }
}
