//! Image pinning: the digest goes into the spec beside the name, as with Docker's client. So every node runs the same image, a
//! tag that was rebuilt makes another revision, and a rollback goes back to the image as it was.

use anyhow::Result;
use skep_common::validate::ImageRef;
use skep_dockerapi::types::{ContainerSpec, Placement, Platform, TaskSpec};

use super::super::Context;
use crate::client::ClientError;

/// Pins the image of a task spec to the digest that its name has on the node that is asked, and to that image's platforms. If
/// the node does not have the image, a warning is printed and the spec has the name alone.
pub(super) async fn pin(context: &mut Context, task: &mut TaskSpec) -> Result<()> {
    let Some(ContainerSpec { image, .. }) = &mut task.container_spec else { return Ok(()) };
    // Those of the image before say nothing of this one.
    if let Some(placement) = &mut task.placement {
        placement.platforms.clear();
    }
    // What is no name is the daemon's to refuse.
    let Ok(name) = ImageRef::parse(image) else { return Ok(()) };
    if name.digest().is_some() {
        return Ok(());
    }
    let familiar = name.familiar();
    match context.client.distribution(&familiar).await {
        Ok(known) => {
            *image = format!("{familiar}@{}", known.descriptor.digest);
            let platform = |platform: skep_dockerapi::types::ImagePlatform| Platform {
                architecture: platform.architecture,
                os: platform.os,
            };
            task.placement.get_or_insert_with(Placement::default).platforms =
                known.platforms.into_iter().map(platform).collect();
        }
        Err(ClientError::Api { .. }) => {
            context.printer.error_line(format!(
                "{familiar} is not on the node that was asked, so its digest could not be recorded: each node runs what it has \
                 under that name, possibly different versions of it"
            ))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
