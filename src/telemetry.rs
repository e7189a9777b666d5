//! Logging: one JSON object per line, or text in development.
