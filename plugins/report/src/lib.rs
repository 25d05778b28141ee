//! Reports: one page that holds a case.
