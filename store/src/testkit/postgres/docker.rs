//! A throwaway server in a container, where a Docker engine answers.

use std::process::{Command, Stdio};
use std::time::Duration;

use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use url::Url;

const IMAGE: &str = "STORE_TEST_POSTGRES_IMAGE";
const PORT: u16 = 5432;
/// Pulling the image is part of a first start.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(300);

/// A container that this process has started.
pub(crate) struct Container {
    container: ContainerAsync<GenericImage>,
    pub(crate) url: Url,
}

/// Starts the one container of this name.
pub(crate) async fn start(name: &str) -> Result<Container, String> {
    let image = std::env::var(IMAGE).unwrap_or_else(|_| "postgres:18".to_owned());
    let (repository, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    // The server starts twice: once to be set up, once to stay.
    let ready = WaitFor::message_on_stderr("database system is ready to accept connections");
    let password = "throwaway";
    let container = GenericImage::new(repository, tag)
        .with_exposed_port(ContainerPort::Tcp(PORT))
        .with_wait_for(WaitFor::message_on_stdout("PostgreSQL init process complete"))
        .with_wait_for(ready)
        .with_container_name(name)
        .with_env_var("POSTGRES_PASSWORD", password)
        .with_cmd([
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "max_connections=200",
        ])
        .with_startup_timeout(START_LIMIT)
        .start()
        .await
        .map_err(|error| format!("{image}: {error}"))?;
    let url = async {
        let host = container.get_host().await?;
        let port = container.get_host_port_ipv4(PORT).await?;
        Ok(format!("postgres://postgres:{password}@{host}:{port}/postgres"))
    };
    let url = url
        .await
        .map_err(|error: testcontainers::TestcontainersError| format!("{image}: {error}"))?;
    let url = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
    Ok(Container { container, url })
}

impl Container {
    /// Stops and removes the container.
    pub(crate) async fn end(self) {
        let _ = self.container.rm().await;
    }

    /// Whether the container has ended by itself.
    pub(crate) async fn is_gone(&self) -> bool {
        matches!(self.container.is_running().await, Ok(false))
    }
}

/// Removes a container whose keeper was killed.
pub(crate) fn clear_away(name: &str) {
    let _ = Command::new("docker")
        .args(["rm", "--force", "--volumes", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
