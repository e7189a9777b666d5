//! Configuration: the process environment and at most one env file, parsed into every room's `Settings`.
