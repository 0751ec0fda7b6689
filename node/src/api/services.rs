//! `/services`.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use http::StatusCode;
use skep_common::pages;
use skep_dockerapi::{
    convert::{insert_defaults, service_spec_from_docker, service_to_docker},
    types::{Created, Service, ServiceSpec, ServiceStatus, Updated},
};
use skep_proto::v1::{CreateServiceRequest, GetObjectRequest, ListServicesRequest, UpdateServiceRequest};

use super::{
    call::call,
    error::ApiError,
    request::{NoRegistryAuth, Params, Spec},
    state::Api,
};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/services", get(list))
        .route("/services/create", post(create))
        .route("/services/{id}", get(inspect).delete(remove))
        .route("/services/{id}/update", post(update))
}

/// `GET /services`.
async fn list(State(api): State<Api>, params: Params) -> Result<Json<Vec<Service>>, ApiError> {
    let control = api.control()?;
    let filters = params.filters(&["id", "name", "label", "mode", "runtime"])?;
    if filters.has("runtime") && !filters.values("runtime").any(|value| value == "container") {
        return Ok(Json(Vec::new()));
    }
    let request = ListServicesRequest {
        id_prefixes: filters.list("id"),
        name_prefixes: filters.list("name"),
        labels: filters.list("label"),
        modes: filters.list("mode"),
        after: None,
    };
    let counted = params.flag("status");
    let services = pages::all(|after| {
        let (mut control, request) = (control.clone(), ListServicesRequest { after: Some(after), ..request.clone() });
        async move { call(control.list_services(request)).await }
    })
    .await?;
    let shown = services.iter().filter_map(|entry| {
        let mut service = service_to_docker(entry.service.as_ref()?);
        service.service_status = counted.then(|| ServiceStatus::from(entry));
        Some(service)
    });
    Ok(Json(shown.collect()))
}

/// `POST /services/create`.
async fn create(
    State(api): State<Api>,
    _: NoRegistryAuth,
    Spec(spec): Spec<ServiceSpec>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let mut control = api.control()?;
    let spec = service_spec_from_docker(spec)?;
    let service = call(Box::pin(control.create_service(CreateServiceRequest { spec: Some(spec) }))).await?;
    Ok((StatusCode::CREATED, Json(Created { id: service.id, warnings: Vec::new() })))
}

/// `GET /services/{id}`.
async fn inspect(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Result<Json<Service>, ApiError> {
    let service = call(api.control()?.get_service(GetObjectRequest { key })).await?;
    let mut shown = service_to_docker(&service);
    if params.flag("insertDefaults") {
        insert_defaults(&mut shown.spec);
    }
    Ok(Json(shown))
}

/// `POST /services/{id}/update`.
async fn update(
    State(api): State<Api>,
    Path(key): Path<String>,
    params: Params,
    _: NoRegistryAuth,
    Spec(spec): Spec<ServiceSpec>,
) -> Result<Json<Updated>, ApiError> {
    let mut control = api.control()?;
    let version = params.version("service")?;
    if !matches!(params.text("registryAuthFrom"), "" | "spec" | "previous-spec") {
        return Err(ApiError::bad("unsupported registryAuthFrom value"));
    }
    let rollback = match params.text("rollback") {
        "" => false,
        "previous" => true,
        other => return Err(ApiError::bad(format!("unrecognized rollback option {other}"))),
    };
    let spec = service_spec_from_docker(spec)?;
    let request = UpdateServiceRequest { key, version, spec: Some(spec), rollback };
    call(Box::pin(control.update_service(request))).await?;
    Ok(Json(Updated::default()))
}

/// `DELETE /services/{id}`.
async fn remove(State(api): State<Api>, Path(key): Path<String>) -> Result<(), ApiError> {
    call(api.control()?.remove_service(GetObjectRequest { key })).await?;
    Ok(())
}
