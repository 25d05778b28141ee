//! Registration: brings images onto one grid.
