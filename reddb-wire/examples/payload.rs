//! What a transaction looks like in the log: builds a payload of three changes, shows its bytes, reads it back, and has a
//! damaged copy refused.
//!
//! `cargo run -p reddb-wire --example payload`

use std::error::Error;

use reddb_wire::{Change, ObjectId, PayloadBuilder, changes};

fn main() -> Result<(), Box<dyn Error>> {
    let space = ObjectId::initial_space(0);
    let written = [
        Change::PutString { space, key: b"greeting", expires_at_ms: None, value: b"hello" },
        Change::PutString { space, key: b"session", expires_at_ms: Some(1_700_000_000_000), value: &[0, 255] },
        Change::DeleteKey { space, key: b"old" },
    ];
    let mut payload = PayloadBuilder::new();
    for change in &written {
        payload.push(change)?;
    }
    let bytes = payload.finish().ok_or("a payload has at least one change")?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{} changes in {} bytes: {hex}", written.len(), bytes.len());

    let read: Vec<Change<'_>> = changes(&bytes)?.collect::<Result<_, _>>()?;
    assert_eq!(read, written);
    for change in &read {
        println!("{change:?}");
    }

    let cut = changes(&bytes[..bytes.len() - 1])?.find_map(Result::err).ok_or("a cut payload is an error")?;
    println!("one byte less: {cut}");
    Ok(())
}
