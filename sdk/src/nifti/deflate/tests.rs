//! What is packed comes out again, by decoders of others.

use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};

fn packed(bytes: &[u8], row: usize, block: usize) -> Vec<u8> {
    let mut deflater = Deflater::new(row);
    let (mut out, mut first) = (Vec::new(), 0);
    loop {
        let (start, end) = (first - first.min(deflater.reach()), (first + block).min(bytes.len()));
        out.extend_from_slice(deflater.block(&bytes[start..end], first - start, end == bytes.len()));
        if end == bytes.len() {
            return out;
        }
        first = end;
    }
}

/// Two decoders that share no code.
fn assert_comes_back(bytes: &[u8], row: usize, block: usize) {
    let packed = packed(bytes, row, block);
    let mut back = Vec::new();
    flate2::read::DeflateDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
    assert!(back == bytes, "flate2 reads other bytes");
    let mut back = vec![0; bytes.len()];
    let len = libdeflater::Decompressor::new().deflate_decompress(&packed, &mut back).unwrap();
    assert!(len == bytes.len() && back == bytes, "libdeflate reads other bytes");
    let stored = stored_bytes(block.min(bytes.len())) * bytes.len().div_ceil(block).max(1);
    assert!(packed.len() <= stored + 1, "{} bytes became {}", bytes.len(), packed.len());
}

/// A number that looks like chance.
fn scattered(n: usize) -> u32 {
    (n as u32 ^ 0x9E37_79B9).wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519)
}

#[test]
fn nothing_constants_ramps_noise_and_every_byte_come_back() {
    let all: Vec<u8> = (0..=255).collect();
    let noise: Vec<u8> = (0..300_000).map(|n| scattered(n) as u8).collect();
    let ramp: Vec<u8> = (0..100_000u32).flat_map(|n| ((n / 7) as u16).to_le_bytes()).collect();
    // One symbol after the other is twice as rare: the longest codes would have 25 bits.
    let steep: Vec<u8> = (0..18u8).flat_map(|n| vec![n.wrapping_mul(37); 1 << (17 - n)]).rev().collect();
    let full = vec![255; 70_000];
    let lone_runs: Vec<u8> = (0..2000).flat_map(|n| vec![scattered(n) as u8; n % 300]).collect();
    for bytes in [&[][..], &[7], &[0; 3], &[0; 262], &full, &all, &noise, &ramp, &steep, &lone_runs] {
        for row in [0, 3, 512, 1 << 20] {
            assert_comes_back(bytes, row, BLOCK);
        }
        assert_comes_back(bytes, 64, 1000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_come_back(
        pieces in proptest::collection::vec((any::<u8>(), 0u8..=8, 1usize..400), 0..60),
        row in 0usize..700,
        block in 1usize..4000,
    ) {
        // Runs and noise of few and of many bits, as they alternate in an image.
        let noisy = |(byte, bits, len): (u8, u8, usize)| {
            (0..len).map(move |n| byte ^ (scattered(n + len) & ((1 << bits) - 1)) as u8)
        };
        let bytes: Vec<u8> = pieces.into_iter().flat_map(noisy).collect();
        assert_comes_back(&bytes, row, block);
    }

    #[test]
    fn codes_are_complete_and_within_their_limit(mut counts in proptest::collection::vec(0u32..1_000_000, 2..286)) {
        for limit in [9, 12, 15] {
            let lengths = lengths(&mut counts, limit);
            let taken: u32 = lengths.iter().filter(|len| **len > 0).map(|len| 1 << (limit - usize::from(*len))).sum();
            prop_assert_eq!(taken, 1 << limit);
            let told = counts.iter().zip(&lengths).all(|(count, len)| (*count > 0) == (*len > 0));
            prop_assert!(told, "a symbol without a code, or a code without a symbol");
        }
    }
}

#[test]
fn lengths_and_distances_have_the_symbols_of_the_standard() {
    // Of RFC 1951, section 3.2.5.
    for (len, symbol) in
        [(3, 257), (10, 264), (11, 265), (12, 265), (13, 266), (130, 280), (131, 281), (257, 284), (258, 285)]
    {
        assert_eq!(length_symbol(len).0, symbol, "{len}");
    }
    for (distance, symbol) in
        [(1, 0), (4, 3), (5, 4), (6, 4), (7, 5), (24_576, 28), (24_577, 29), (32_768, 29)]
    {
        assert_eq!(distance_symbol(distance).0, symbol, "{distance}");
    }
}

/// A head as scanners give it: int16, noise of five bits in the tissue and of two in most of the air, and a stripped one.
fn head(stripped: bool) -> Vec<u8> {
    let side = 96;
    let voxel = |n: usize| -> i16 {
        let place = [n % side, n / side % side, n / side / side].map(|i| i as f64 / side as f64 - 0.5);
        let radius = place.iter().map(|x| x * x).sum::<f64>().sqrt();
        let noise = scattered(n) >> 16;
        match radius < 0.4 {
            true => 700 - (800.0 * radius) as i16 + (noise & 31) as i16,
            false if stripped => 0,
            false => (noise & 3) as i16,
        }
    };
    (0..side * side * side).flat_map(|n| voxel(n).to_le_bytes()).collect()
}

/// Its fastest level is what other writers of NIfTI files take when speed counts.
#[test]
fn heads_take_no_more_room_than_the_fastest_level_of_flate2() {
    for stripped in [false, true] {
        let bytes = head(stripped);
        let ours = packed(&bytes, 192, BLOCK).len();
        let mut fast = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        fast.write_all(&bytes).unwrap();
        let theirs = fast.finish().unwrap().len();
        assert!(ours <= theirs, "stripped {stripped}: {ours} bytes, {theirs} by flate2");
    }
}

#[test]
fn a_run_and_a_repeated_row_are_told_in_a_few_bytes() {
    let row: Vec<u8> = (0..512).map(|n| scattered(n) as u8).collect();
    let rows: Vec<u8> = row.iter().copied().cycle().take(512 * 200).collect();
    assert!(packed(&rows, 512, BLOCK).len() < 512 + 600);
    assert!(packed(&vec![3; 100_000], 512, BLOCK).len() < 250);
    assert_eq!(Distances::new(512).reach(), 512);
}
