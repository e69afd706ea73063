//! Where checkpoints come from: the catalogue, its sources and the local cache.
