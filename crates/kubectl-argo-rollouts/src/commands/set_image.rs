//! `set image`

use std::io::Write;

use crate::api::{Api, ApiError, DEPLOYMENTS, Kind, ROLLOUTS};
use crate::error::CommandError;
use crate::fields::{has_object, text};
use crate::image;
use crate::kubeconfig::{self, Connection, KubeFlags};

/// How often a write is tried when somebody else was faster.
const MOST_TRIES: u32 = 5;

/// Update the image of a rollout
///
/// CONTAINER=IMAGE names a container, an init container or an ephemeral one; * stands for all. The
/// template of a referenced Deployment is changed in the Deployment.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollout to update
    #[arg(value_name = "NAME")]
    name: String,
    /// Container and its new image
    #[arg(value_name = "CONTAINER=IMAGE")]
    image: String,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let (container, image) = image::parse(&arguments.image).ok_or(CommandError::Usage(&["set", "image"]))?;
    let Connection { api, namespace } = kubeconfig::connect(flags).await?;
    let mut tries = 1;
    let done = loop {
        match once(&api, &namespace, &arguments.name, container, image).await {
            Err(CommandError::Api(error)) if is_conflict(&error) && tries < MOST_TRIES => tries += 1,
            outcome => break outcome?,
        }
    };
    writeln!(out, "{done}")?;
    Ok(())
}

fn is_conflict(error: &ApiError) -> bool {
    error.code() == Some(409)
}

/// Reads, changes and writes once; the resource version makes sure that nothing came in between.
async fn once(
    api: &Api,
    namespace: &str,
    name: &str,
    container: &str,
    image: &str,
) -> Result<String, CommandError> {
    let mut object = api.get(ROLLOUTS, namespace, name).await?;
    let (mut kind, mut noun, mut name): (Kind, &str, String) = (ROLLOUTS, "rollout", name.to_owned());
    if has_object(&object, "/spec/workloadRef") {
        (kind, noun, name) = (DEPLOYMENTS, "deployment", text(&object, "/spec/workloadRef/name").to_owned());
        object = api.get(kind, namespace, &name).await?;
    }
    image::set(&mut object, container, image)?;
    api.replace(kind, namespace, &name, &object).await?;
    Ok(format!("{noun} {name:?} image updated"))
}
