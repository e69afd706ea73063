//! Every limit of the program, each with the reason for its value.
//!
//! A limit that a user can hit is named in the error that refuses it. Limits that depend on each
//! other are tied by a `const` assertion.

// ---- chat ----

// ---- engine ----

// ---- format ----

// ---- model ----

// ---- pipeline ----

// ---- api ----

// ---- hub ----
