//! A machine in memory whose disk and page cache differ.
