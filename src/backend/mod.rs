//! How bytes move: one trait, one folder per backend, one table of names.
