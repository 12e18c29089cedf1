//! Plans, by tables.
