//! What the property tests share: the tables to test and inputs that repeat.

use kernels::KernelTable;

pub(crate) fn tables() -> Vec<&'static KernelTable> {
    let mut tables = vec![KernelTable::scalar()];
    tables.extend(KernelTable::avx2());
    tables.extend(KernelTable::avx512());
    tables.extend(KernelTable::amx());
    eprintln!("tables: {:?}", tables.iter().map(|table| table.name()).collect::<Vec<_>>());
    tables
}

/// xorshift64*, so that a failure repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
