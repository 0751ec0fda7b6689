//! `skep info`.

use anyhow::Result;

use super::Context;
use crate::output::pretty;

pub(super) async fn run(context: &mut Context) -> Result<()> {
    let info = context.client.info().await?;
    context.printer.text(pretty::info::show(&info))?;
    for warning in info.warnings.unwrap_or_default().into_iter().chain(info.swarm.warnings) {
        context.printer.error_line(warning)?;
    }
    Ok(())
}
