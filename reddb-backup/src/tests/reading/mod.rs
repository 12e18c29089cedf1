//! The reading side against archives that the writing side made: what is restored is what was written, and damage is seen.

mod archive;
mod damage;
mod hostile;
mod restoring;
mod said;
mod sink;
