//! Segments of the archive, compressed as they are stored or decompressed by somebody.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use reddb_backup::codec::decode_segment;
use reddb_file::archive::sealed::decode;
use reddb_file::archive::{Document as _, MissingDigest, SegmentDecoder, SegmentSidecar, Sha256Digest};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::records::RecordsReader;
use super::{CliError, Finding, unreadable};
use crate::cli::output::to_json;

pub(super) fn compressed(path: &Path, records_max: u64) -> Result<Finding, CliError> {
    let reader = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
    let mut finding = match decode_segment(reader) {
        Ok(decoder) => walk(decoder, records_max)?,
        Err(error) => Finding::fault(error),
    };
    compare_with_sidecar(path, &mut finding)?;
    Ok(finding)
}

pub(super) fn plain(path: &Path, records_max: u64) -> Result<Finding, CliError> {
    let mut reader = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
    let mut finding = match SegmentDecoder::new(&mut reader) {
        Ok(decoder) => walk(decoder, records_max)?,
        Err(error) => return Ok(Finding::fault(error)),
    };
    let trailing = reader.fill_buf().map_err(|error| unreadable(path, &error))?;
    if finding.faults.is_empty() && !trailing.is_empty() {
        finding.faults.push("bytes follow the segment's last record".into());
    }
    Ok(finding)
}

/// Reads all records. Those before a fault were read but are proved by nothing in this file alone.
fn walk<R: Read>(mut decoder: SegmentDecoder<R>, records_max: u64) -> Result<Finding, CliError> {
    let header = *decoder.header();
    let mut finding = Finding::default();
    let (mut first_time_ms, mut last_time_ms) = (None, None);
    let mut read_count: u64 = 0;
    let mut records = RecordsReader::new(records_max);
    loop {
        match decoder.next_record() {
            Ok(None) => break,
            Ok(Some(record)) => {
                read_count += 1;
                first_time_ms.get_or_insert(record.time_ms);
                last_time_ms = Some(record.time_ms);
                records.take(&record);
            }
            Err(error) => {
                finding.faults.push(format!(
                    "{error}; the records up to LSN {} could be read, those after it, up to LSN {}, could not be checked",
                    decoder.lsn(),
                    header.last_lsn
                ));
                break;
            }
        }
    }
    records.finish(&mut finding);
    finding.content = json!({
        "cluster": to_json(&header.cluster)?,
        "timeline": to_json(&header.timeline)?,
        "epoch": to_json(&header.epoch)?,
        "first_lsn": to_json(&header.first_lsn)?,
        "last_lsn": to_json(&header.last_lsn)?,
        "record_bytes": header.record_bytes,
        "records_read": read_count,
        "first_time_ms": first_time_ms,
        "last_time_ms": last_time_ms,
        "chain_before": to_json(&header.chain_before)?,
        "chain_after": to_json(&header.chain_after)?,
    });
    Ok(finding)
}

/// A sidecar that lies next to the segment, as in a `file://` archive or a copy of a whole folder, is looked at too.
fn compare_with_sidecar(path: &Path, finding: &mut Finding) -> Result<(), CliError> {
    let mut sidecar_path = path.as_os_str().to_owned();
    sidecar_path.push(".json");
    let sidecar_path = Path::new(&sidecar_path);
    let Ok(file) = File::open(sidecar_path) else {
        finding.notices.push("no sidecar lies next to it, so its digest was not compared".into());
        return Ok(());
    };
    let mut bytes = Vec::new();
    file.take(SegmentSidecar::BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(sidecar_path, &error))?;
    let sidecar = match decode::<SegmentSidecar>(&bytes, MissingDigest::Refuse) {
        Ok(opened) => opened.document,
        Err(error) => {
            finding.faults.push(format!("its sidecar is damaged: {error}"));
            return Ok(());
        }
    };
    let (stored_bytes, digest) = digest_of(path)?;
    if stored_bytes != sidecar.stored_bytes {
        finding.faults.push(format!("it has {stored_bytes} bytes, its sidecar says {}", sidecar.stored_bytes));
    }
    if digest != sidecar.stored_sha256 {
        finding.faults.push(format!("its SHA-256 is {digest}, its sidecar says {}", sidecar.stored_sha256));
    } else {
        finding.notices.push("its size and SHA-256 are those that its sidecar says".into());
    }
    Ok(())
}

fn digest_of(path: &Path) -> Result<(u64, Sha256Digest), CliError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut total: u64 = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| unreadable(path, &error))?;
        if count == 0 {
            return Ok((total, Sha256Digest::from_bytes(hasher.finalize().into())));
        }
        hasher.update(&buffer[..count]);
        total += count as u64;
    }
}
