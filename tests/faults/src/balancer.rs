use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// One address for several instances, as a cluster has it: each connection goes to the next instance that accepts it, and ends with it.
#[derive(Debug)]
pub struct Balancer {
    instances: Arc<Mutex<Vec<SocketAddr>>>,
    serving: JoinHandle<()>,
}

impl Balancer {
    /// Listens there, and is in front of nothing yet.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let instances: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&instances)));
        Self { instances, serving }
    }

    /// New connections go there, too.
    pub fn add(&self, instance: SocketAddr) {
        self.instances.lock().unwrap().push(instance);
    }

    /// New connections go to the others; those that there are stay.
    pub fn remove(&self, instance: SocketAddr) {
        self.instances.lock().unwrap().retain(|one| *one != instance);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, instances: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let turn = {
            let mut instances = instances.lock().unwrap();
            if !instances.is_empty() {
                instances.rotate_left(1);
            }
            instances.clone()
        };
        connections.spawn(async move {
            near.set_nodelay(true).unwrap();
            for address in turn {
                if let Ok(mut far) = TcpStream::connect(address).await {
                    far.set_nodelay(true).unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
