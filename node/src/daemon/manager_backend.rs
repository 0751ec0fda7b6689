//! The manager as the API's handlers see it.

use async_trait::async_trait;
use skep_manager::{LogSelector, Manager};
use skep_proto::v1::LogOptions;

use crate::api::backend::{self, Control, LogStream};

#[async_trait]
impl backend::Manager for Manager {
    fn control(&self) -> Control {
        backend::control(self.control_service())
    }

    fn troubles(&self) -> Vec<String> {
        Manager::troubles(self).borrow().clone()
    }

    async fn logs(&self, target: LogSelector, options: LogOptions) -> Result<LogStream, tonic::Status> {
        Manager::logs(self, target, options).await
    }
}
