//! `ToyLm`: a [`CausalLm`] for tests that has no neural network.
