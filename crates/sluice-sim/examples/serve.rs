//! Serves a simulated cluster with its workload controllers, for a person with kubectl.
//!
//! usage: serve [ADDRESS [KUBECONFIG]]

use std::net::SocketAddr;

use sluice_sim::{
    Cluster, Options,
    controllers::{Settings, standard},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr: SocketAddr =
        args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse().map_err(std::io::Error::other)?;
    let start = std::time::SystemTime::now().try_into().map_err(std::io::Error::other)?;
    let cluster = Cluster::new(Options { start, ..Options::default() });
    // Without controllers it is an API server alone, to compare with a real one.
    if std::env::var_os("SIM_BARE").is_none() {
        drop(cluster.start_controllers(standard(Settings::default())));
    }
    let served = cluster.serve(addr).await?;
    let config = Cluster::kubeconfig(served.addr);
    match args.next() {
        Some(path) => std::fs::write(path, config)?,
        None => print!("{config}"),
    }
    std::future::pending::<()>().await;
    Ok(())
}
