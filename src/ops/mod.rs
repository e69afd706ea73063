//! Where Candle meets the kernels: linear layers, paged attention, norms and rope as operations on
//! Candle tensors. Owns the threads; must not know models.
