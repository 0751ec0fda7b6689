//! `skep image`.

mod list;
mod load;

use anyhow::Result;

use super::Context;
use crate::args::ImageCommand;

pub(super) async fn run(context: &mut Context, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Load(args) => load::run(context, args).await,
        ImageCommand::Ls(args) => list::run(context, args).await,
    }
}
