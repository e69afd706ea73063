//! Packing: every table's bytes are the reference's, and a row comes back as it was.

mod inputs;

use kernels::{BlockFormat, GROUP, PackedFormat, SuperFormat};

use inputs::{Random, bits, tables};

#[test]
fn every_table_packs_the_same_and_rows_come_back() {
    let mut random = Random(7);
    let blocks = BlockFormat::ALL.map(PackedFormat::Blocks);
    for format in blocks.into_iter().chain(SuperFormat::ALL.map(PackedFormat::Supers)) {
        let few = 1 + random.below(GROUP);
        for (num_rows, num_blocks) in [(GROUP, 1), (GROUP, 2), (GROUP, 7), (few, 2), (1, 1)] {
            let row_bytes = num_blocks * format.block_bytes();
            let rows = bits(&random.floats(num_rows * row_bytes));
            let rows: Vec<u8> = rows.into_iter().map(|bits| (bits >> 8) as u8).collect();
            let mut expected = vec![0xff; GROUP * row_bytes];
            format.pack_group(&rows, row_bytes, &mut expected);
            for (row_id, row) in rows.chunks(row_bytes).enumerate() {
                let mut out = vec![0xff; row_bytes];
                format.unpack_row(&expected, row_id, &mut out);
                assert_eq!(out, row, "{format:?}, row {row_id} of {num_blocks} blocks");
            }
            for table in tables() {
                let mut group = vec![0xff; GROUP * row_bytes];
                table.pack_group(format, &rows, row_bytes, &mut group);
                assert_eq!(group, expected, "{} {format:?}, {num_rows} rows", table.name());
            }
        }
    }
}
