//! The limiter, run for real: one suite of cases over memory, over Redis, and across losing Redis and getting it back.

mod suite;
