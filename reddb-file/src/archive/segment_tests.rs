//! The archived segment's plain form: what goes in comes out, and anything else is an error.

use bytes::Bytes;
use proptest::prelude::*;

use super::segment::{RecordRun, SEGMENT_HEADER_BYTES, SegmentDecoder, SegmentError};
use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::record::{Record, RecordKind};

fn cluster() -> ClusterId {
    ClusterId::from_bytes([7; 16])
}

fn records(before: u64, payloads: &[Vec<u8>]) -> Vec<Record> {
    payloads
        .iter()
        .zip(before + 1..)
        .map(|(payload, lsn)| Record {
            lsn: Lsn::new(lsn),
            time_ms: 1000 + lsn / 2,
            kind: RecordKind::Changes,
            payload: Bytes::from(payload.clone()),
        })
        .collect()
}

fn encoded(records: &[Record]) -> Bytes {
    let mut out = Vec::new();
    records.iter().for_each(|record| record.encode_into(&mut out).unwrap());
    out.into()
}

fn plain(before: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
    let run =
        RecordRun::scan(Lsn::new(before), Chain::genesis(cluster()), encoded(&records(before, payloads))).unwrap();
    let mut plain = run.header(cluster(), TimelineId::new(3), Epoch::new(9)).encode().to_vec();
    plain.extend_from_slice(run.bytes());
    plain
}

fn read_all(bytes: &[u8]) -> Result<Vec<Record>, SegmentError> {
    let mut decoder = SegmentDecoder::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = decoder.next_record()? {
        records.push(record);
    }
    Ok(records)
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12)
}

/// Reads runs of up to `bytes_max` that end at each of `stops`.
fn read_runs(bytes: &[u8], bytes_max: usize, stops: &[u64]) -> Result<Vec<RecordRun>, SegmentError> {
    let mut decoder = SegmentDecoder::new(bytes)?;
    let mut runs = Vec::new();
    loop {
        let stop = stops.iter().copied().map(Lsn::new).filter(|stop| *stop > decoder.lsn()).min();
        match decoder.next_run(bytes_max, stop.unwrap_or(Lsn::MAX))? {
            Some(run) => runs.push(run),
            None => return Ok(runs),
        }
    }
}

proptest! {
    #[test]
    fn runs_are_what_a_scan_of_their_bytes_says_and_end_where_asked(
        payloads in payloads(),
        bytes_max in 0..300_usize,
        stops in prop::collection::vec(1..15_u64, 0..4),
    ) {
        let runs = read_runs(&plain(0, &payloads), bytes_max, &stops).unwrap();
        let (mut before, mut chain, mut joined) = (Lsn::ZERO, Chain::genesis(cluster()), Vec::new());
        for run in &runs {
            prop_assert_eq!(run, &RecordRun::scan(before, chain, run.bytes().clone()).unwrap());
            prop_assert!(run.bytes().len() <= bytes_max || run.record_count() == 1);
            (before, chain) = (run.last_lsn(), run.chain_after());
            joined.extend_from_slice(run.bytes());
        }
        prop_assert_eq!(Bytes::from(joined), encoded(&records(0, &payloads)));
        let ends: Vec<_> = runs.iter().map(|run| run.last_lsn().get()).collect();
        for stop in stops.iter().filter(|stop| **stop <= payloads.len() as u64) {
            prop_assert!(ends.contains(stop), "no run ends at {stop}: {ends:?}");
        }
    }

    #[test]
    fn a_run_up_to_a_moment_holds_the_records_that_are_no_later(payloads in payloads(), until_ms in 999..1010_u64) {
        let all = records(0, &payloads);
        let run = RecordRun::scan(Lsn::ZERO, Chain::genesis(cluster()), encoded(&all)).unwrap();
        let kept: Vec<_> = all.into_iter().filter(|record| record.time_ms <= until_ms).collect();
        match run.until(until_ms) {
            Some(run) => {
                prop_assert_eq!(&run, &RecordRun::scan(Lsn::ZERO, run.chain_before(), encoded(&kept)).unwrap());
            }
            None => prop_assert!(kept.is_empty()),
        }
    }

    #[test]
    fn any_flipped_bit_is_an_error_of_runs_too(
        payloads in payloads(),
        bytes_max in 0..300_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = plain(41, &payloads);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read_runs(&bytes, bytes_max, &[]).is_err());
        prop_assert!(read_runs(&plain(41, &payloads)[..at], bytes_max, &[]).is_err());
    }

    #[test]
    fn what_goes_in_comes_out(before in 0..u64::MAX - 100, payloads in payloads()) {
        let read = read_all(&plain(before.min(u64::MAX / 2), &payloads)).unwrap();
        prop_assert_eq!(read, records(before.min(u64::MAX / 2), &payloads));
    }

    #[test]
    fn any_flipped_bit_is_an_error(payloads in payloads(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = plain(41, &payloads);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn any_other_length_is_an_error(payloads in payloads(), cut in any::<prop::sample::Index>(), extra in any::<u8>()) {
        let mut bytes = plain(41, &payloads);
        prop_assert!(read_all(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(extra);
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read_all(&bytes).is_err());
    }
}

#[test]
fn a_record_at_the_last_lsn_is_the_last() {
    let before = u64::MAX - 1;
    let last =
        Record { lsn: Lsn::MAX, time_ms: u64::MAX, kind: RecordKind::Timeline, payload: Bytes::from_static(b"x") };
    let genesis = Chain::genesis(cluster());
    let run = RecordRun::scan(Lsn::new(before), genesis, encoded(std::slice::from_ref(&last))).unwrap();
    assert_eq!((run.first_lsn(), run.last_lsn(), run.record_count()), (Lsn::MAX, Lsn::MAX, 1));
    let mut bytes = run.header(cluster(), TimelineId::new(u32::MAX), Epoch::new(u64::MAX)).encode().to_vec();
    bytes.extend_from_slice(run.bytes());
    assert_eq!(read_all(&bytes).unwrap(), std::slice::from_ref(&last));
    let twice = encoded(&[last.clone(), last]);
    assert!(matches!(RecordRun::scan(Lsn::new(before), genesis, twice), Err(SegmentError::Lsn { .. })));
}

#[test]
fn holes_repeats_and_times_going_back_are_errors() {
    let genesis = Chain::genesis(cluster());
    let good = records(0, &[vec![1], vec![2], vec![3]]);
    let scan = |records: &[Record]| RecordRun::scan(Lsn::ZERO, genesis, encoded(records));
    assert!(scan(&good).is_ok());
    assert!(matches!(scan(&[]), Err(SegmentError::Empty)));
    assert!(matches!(scan(&good[1..]), Err(SegmentError::Lsn { .. })));
    assert!(matches!(scan(&[good[0].clone(), good[2].clone()]), Err(SegmentError::Lsn { .. })));
    assert!(matches!(scan(&[good[0].clone(), good[0].clone()]), Err(SegmentError::Lsn { .. })));
    let mut back = good.clone();
    back[2].time_ms = 1;
    assert!(matches!(scan(&back), Err(SegmentError::Time { .. })));
}

#[test]
fn a_declared_length_allocates_nothing_by_itself() {
    // The header declares 200 MiB of records, the record 200 MiB of payload; 21 bytes of it are there.
    let mut bytes = plain(0, &[vec![]]);
    let length = 200_u32 << 20;
    bytes[SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + 4].copy_from_slice(&length.to_le_bytes());
    bytes[56..64].copy_from_slice(&(u64::from(length) + 21).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..128]);
    bytes[128..132].copy_from_slice(&crc.to_le_bytes());
    let mut decoder = SegmentDecoder::new(bytes.as_slice()).unwrap();
    assert!(matches!(decoder.next_record(), Err(SegmentError::Truncated { .. })));
}
