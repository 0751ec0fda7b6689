//! `/images` and `/distribution`: what this node has. Loading is in [`super::load`].

use std::collections::BTreeSet;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    routing::get,
};
use http::StatusCode;
use skep_dockerapi::{
    decode,
    names::{is_pattern, reference_matches},
    time::Time,
    types::{
        Descriptor, DistributionInspect, GraphDriver, Image, ImageDocument, ImageMetadata, ImagePlatform, ImageSummary,
        RootFs,
    },
};

use super::{
    error::ApiError,
    inspect::{DRIVER, stacked},
    request::{NoRegistryAuth, Params},
    state::Api,
    version::ApiVersion,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/images/json", get(list))
        .route("/images/{name}/json", get(inspect))
        .route("/distribution/{name}/json", get(resolve))
}

/// `GET /images/json`.
async fn list(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Result<Json<Vec<ImageSummary>>, ApiError> {
    let filters = params.filters(&["reference", "label", "dangling", "before", "since"])?;
    let pattern = |pattern: &str| is_pattern(pattern).then_some(());
    filters.parsed_or("reference", pattern, |_| "syntax error in pattern".to_owned())?;
    let dangling = filters.flag("dangling")?;
    let (mut before, mut since) = (None, None);
    for (filter, bound) in [("before", &mut before), ("since", &mut since)] {
        if let Some(name) = filters.values(filter).next() {
            *bound = Some(api.backend.runtime.image(name).await?.created);
        }
    }
    let mut images = api.backend.runtime.images().await?;
    images.retain_mut(|image| {
        // Of an image that fits, the names that fit are shown.
        let named = filters.has("reference");
        image.tags.retain(|tag| !named || filters.values("reference").any(|pattern| reference_matches(pattern, tag)));
        (!named || !image.tags.is_empty())
            && before.is_none_or(|before| image.created < before)
            && since.is_none_or(|since| image.created > since)
            && filters.labels_match("label", &image.labels)
            && dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
    });
    images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let summary = |image: skep_runtime::Image| ImageSummary {
        containers: -1,
        created: image.created.map_or(0, |created| created.as_secs()),
        repo_digests: digests(&image),
        id: image.id,
        labels: Some(image.labels).filter(|labels| !labels.is_empty()),
        parent_id: String::new(),
        repo_tags: image.tags,
        shared_size: -1,
        size: image.size,
        virtual_size: (version < ApiVersion::ONE_IMAGE_SIZE).then_some(image.size),
    };
    Ok(Json(images.into_iter().map(summary).collect()))
}

/// `GET /images/{name}/json`.
async fn inspect(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Path(name): Path<String>,
) -> Result<Json<Image>, ApiError> {
    let image = api.backend.runtime.image(&name).await?;
    let document = api.backend.runtime.image_config(&name).await?;
    let document: ImageDocument = decode::answer(&document).map_err(|error| {
        let text = format!("the configuration of the image {name} cannot be read: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    let (top, below) = match image.layers.split_last() {
        Some((top, below)) => (top.display().to_string(), stacked(below.iter().rev().map(AsRef::as_ref))),
        None => (String::new(), String::new()),
    };
    let directories = [("UpperDir", top), ("LowerDir", below)].into_iter().filter(|(_, path)| !path.is_empty());
    Ok(Json(Image {
        repo_digests: digests(&image),
        id: image.id,
        repo_tags: image.tags,
        parent: String::new(),
        comment: document.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created: Time::text_of(image.created.map(Time::from)),
        docker_version: document.docker_version,
        author: document.author,
        config: document.config,
        architecture: image.architecture,
        variant: document.variant,
        os: image.os,
        size: image.size,
        virtual_size: (version < ApiVersion::ONE_IMAGE_SIZE).then_some(image.size),
        graph_driver: GraphDriver {
            data: directories.map(|(name, path)| (name.to_owned(), path)).collect(),
            name: DRIVER.to_owned(),
        },
        root_fs: RootFs { r#type: "layers".to_owned(), layers: document.rootfs.diff_ids },
        metadata: ImageMetadata::default(),
    }))
}

/// `GET /distribution/{name}/json`: the digest that a name stands for. With it the client pins the image of a service when
/// it creates or updates it: `name:tag@digest` in the spec, and so in the revision. There is no registry to ask, so the
/// answer is that of this node's image store.
async fn resolve(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: NoRegistryAuth,
) -> Result<Json<DistributionInspect>, ApiError> {
    let image = api.backend.runtime.image(&name).await?;
    Ok(Json(DistributionInspect {
        descriptor: Descriptor { media_type: MANIFEST.to_owned(), digest: image.digest, size: 0 },
        platforms: vec![ImagePlatform { architecture: image.architecture, os: image.os }],
    }))
}

/// `name@digest` of each name.
fn digests(image: &skep_runtime::Image) -> Vec<String> {
    let names: BTreeSet<&str> = image.tags.iter().filter_map(|tag| Some(tag.rsplit_once(':')?.0)).collect();
    names.into_iter().map(|name| format!("{name}@{}", image.digest)).collect()
}
