//! Whole-process tests: see the `tests` folder beside this one.
