//! Lesions: filters candidates and measures what remains.
