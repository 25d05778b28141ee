//! Normalisation of intensities.
