//! Skull strip: finds the brain of a head image.
