//! A database in process, without a port: open, write, read, mark, back up, close.
//!
//! `cargo run -p reddb-server --example embedded`

use std::error::Error;
use std::time::Duration;

use reddb_server::{Config, Database, Reply};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let config = Config::new(temp.path().join("data"), 64 << 20);
    let database = Database::open(config).await?;

    let mut connection = database.connect();
    connection.execute(&["SET", "greeting", "hello"]).await?;
    connection.execute(&["HSET", "user:1", "name", "Ada", "born", "1815"]).await?;
    let receipt = connection.receipt().ok_or("a write leaves a receipt")?;
    println!("durable at LSN {} of timeline {}, chain {}", receipt.lsn, receipt.timeline, receipt.chain);

    let reply = connection.execute(&["GET", "greeting"]).await?;
    assert_eq!(reply, Reply::bulk("hello"));

    let mark = database.mark("before-the-experiment").await?;
    println!("the archive holds LSN {} under the name {}", mark.lsn, mark.name);
    let backup = database.backup("example").await?;
    println!("snapshot {} at LSN {}: {} bytes", backup.id, backup.lsn, backup.total_bytes);

    database.close(Duration::from_secs(10)).await?;
    println!("closed: everything is in the archive");
    Ok(())
}
